"""The tables of the workload, for MariaDB and MySQL: an int key, a key of two texts that ignores case, hard values.

Two things hold in every committed state, so that whoever sees anything else has not seen a committed state:

    the balances of ``accounts`` sum up to TOTAL (rows are made, removed, renumbered and swapped all the time)
    the holders of ``slots`` are 0 to SLOTS - 1, each once, whichever keys they have
"""

from __future__ import annotations

from typing import Any, Final

import pymysql

ACCOUNTS: Final = 150
BALANCE: Final = 1000
TOTAL: Final = ACCOUNTS * BALANCE
SLOTS: Final = 60
#: Keys of accounts lie here; a writer's own place for swaps is below zero.
ACCOUNT_KEYS: Final = 300
MOST_EVENTS: Final = 2000

#: For MariaDB and MySQL alike.
SCHEMA: Final = {
    "accounts": """CREATE TABLE accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL, note VARCHAR(40),
        KEY (balance)) ENGINE=InnoDB""",
    "slots": "CREATE TABLE slots (id INT PRIMARY KEY, holder INT NOT NULL) ENGINE=InnoDB",
    "names": """CREATE TABLE names (name VARCHAR(30) NOT NULL, part CHAR(8) NOT NULL, n INT, title VARCHAR(60),
        PRIMARY KEY (name, part)) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci""",
    "events": """CREATE TABLE events (id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(10), at DATETIME(3),
        value INT, KEY (kind, at)) ENGINE=InnoDB AUTO_INCREMENT=1000000""",
    "wide": """CREATE TABLE wide (id BIGINT UNSIGNED PRIMARY KEY, ti TINYINT, mu MEDIUMINT UNSIGNED, bi BIGINT,
        bu BIGINT UNSIGNED, de DECIMAL(65,30), d2 DECIMAL(10,2), fl FLOAT, dd DOUBLE, b12 BIT(12), ye YEAR,
        ch CHAR(6), vc VARCHAR(80), la VARCHAR(40) CHARACTER SET latin1, u6 VARCHAR(20) CHARACTER SET utf16,
        u2 VARCHAR(20) CHARACTER SET ucs2, te TEXT, bn BINARY(4), vb VARBINARY(300), bl BLOB, da DATE,
        dt DATETIME(6), ts TIMESTAMP(3) NULL, tm TIME(6), en ENUM('new','Größe','漢'), se SET('x','y','é'), js JSON
        ) ENGINE=InnoDB CHARACTER SET utf8mb4""",
}
VALUES: Final[dict[str, tuple[Any, ...]]] = {
    "ti": (-128, 127, 0, None),
    "mu": (0, 2**24 - 1, None),
    "bi": (-(2**63), 2**63 - 1, 0, None),
    "bu": (2**64 - 1, 2**63, 0, None),
    "de": ("-" + "7" * 35 + "." + "0" * 29 + "1", "0." + "0" * 29 + "1", "0", "9" * 35, None),
    "d2": ("99999999.99", "-0.01", "1.5", None),
    "fl": (1234567.75, 1.1, -1e-38, 16777216, None),
    "dd": (1.7976931348623157e308, 5e-324, 0.1, -0.0, None),
    "b12": (0, 4095, 1, None),
    "ye": (1901, 2155, 0, None),
    "ch": ("a", " b", "ü漢😀", "", None),
    "vc": ("", 'it\'s "q" \\ 100%_ \0 \n\t\x1a', "漢字 😀", "x ", None),
    "la": ("é€ÿ'\\", "", "plain", None),
    "u6": ("ü漢😀", "", None),
    "u2": ("ü漢", "", None),
    "te": ("lorem ipsum " * 40, "", "NULL", None),
    "bn": (b"", b"\0\xff", b"\0\0\0\0", None),
    "vb": (bytes(range(256)), b"", b"\0", None),
    "bl": (bytes(range(255, -1, -1)) * 8, b"", b"'\\\n", None),
    "da": ("0000-00-00", "2020-00-00", "9999-12-31", None),
    "dt": ("0000-00-00 00:00:00", "2020-02-29 01:02:03.000400", "9999-12-31 23:59:59.999999", None),
    "ts": ("2038-01-19 01:14:07", "1970-01-02 00:00:01.001", None),
    "tm": ("-838:59:59", "-00:00:00.000001", "838:59:59", "-12:34:56.25", None),
    "en": ("new", "Größe", "漢", None),
    "se": ("", "x,é", "y", None),
    "js": ('{"a": "\\"\'\\\\", "b": [1.5, null]}', "[]", '"ü😀"', "12345678901234567890", None),
}


def prepare(connection: pymysql.connections.Connection[Any]) -> None:
    """Make the tables and their first rows in the connection's database."""
    cursor = connection.cursor()
    for statement in SCHEMA.values():
        cursor.execute(statement)
    begin_again(connection)
    cursor.executemany("INSERT INTO slots VALUES (%s,%s)", [(each, each) for each in range(SLOTS)])
    cursor.executemany(
        "INSERT INTO events (kind,at,value) VALUES (%s,'2026-11-20 12:00:00.5',%s)",
        [(f"k{each % 7}", each) for each in range(500)],
    )
    connection.commit()


def begin_again(connection: pymysql.connections.Connection[Any]) -> None:
    """The first accounts, whatever there were; not committed."""
    cursor = connection.cursor()
    cursor.execute("DELETE FROM accounts")
    cursor.executemany("INSERT INTO accounts VALUES (%s,%s,NULL)", [(each, BALANCE) for each in range(1, ACCOUNTS + 1)])
