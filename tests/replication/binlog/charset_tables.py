"""What servers make of the bytes of every character set, asked of them; writes tcsql/replication/binlog/charsetdata.py.

    python -m tests.replication.binlog.charset_tables

Both servers are asked for every byte and every pair of bytes, for three bytes where a set has such characters, and for
a part of the four-byte ones of gb18030; where both know a set they agree. Tests compare the tables with the servers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tcsql.replication import binlog
from tests.mariadb import MariaDB
from tests.replication.mysql9 import MySQL9

#: The codec of Python that is nearest; what it reads otherwise is written into the table.
CODECS = {
    "armscii8": "latin1", "ascii": "ascii", "big5": "big5", "cp1250": "cp1250", "cp1251": "cp1251",
    "cp1256": "cp1256", "cp1257": "cp1257", "cp850": "cp850", "cp852": "cp852", "cp866": "cp866", "cp932": "cp932",
    "dec8": "latin1", "eucjpms": "euc_jp", "euckr": "cp949", "gb18030": "gb18030", "gb2312": "gb2312", "gbk": "gbk",
    "geostd8": "latin1", "greek": "iso8859_7", "hebrew": "iso8859_8", "hp8": "hp_roman8", "keybcs2": "cp437",
    "koi8r": "koi8_r", "koi8u": "koi8_u", "latin1": "cp1252", "latin2": "iso8859_2", "latin5": "iso8859_9",
    "latin7": "iso8859_13", "macce": "mac_latin2", "macroman": "mac_roman", "sjis": "shift_jis", "swe7": "ascii",
    "tis620": "tis_620", "ujis": "euc_jp",
}  # fmt: skip
MANY_BYTES = ("big5", "cp932", "eucjpms", "euckr", "gb18030", "gb2312", "gbk", "sjis", "ujis")
THREE_BYTES = ("ujis", "eucjpms")
#: One byte, whatever follows: half-width katakana.
_KANA = range(0xA1, 0xE0)
Answers = dict[bytes, str]


def sequences(charset: str) -> list[bytes]:
    """What may be a character of the set, and much that is none."""
    found = [bytes([one]) for one in range(256)]
    if charset in MANY_BYTES:
        leads = [one for one in range(0x80, 256) if charset not in ("sjis", "cp932") or one not in _KANA]
        found += [bytes([one, two]) for one in leads for two in range(0x30, 256)]
    if charset in THREE_BYTES:
        found += [bytes([0x8F, one, two]) for one in range(0xA1, 256) for two in range(0xA1, 256)]
    if charset == "gb18030":
        found += [
            bytes([one, 0x30 + one % 10, two, 0x30 + two % 10])
            for one in (*range(0x81, 0x85), *range(0x90, 0xE4))
            for two in range(0x81, 0xFF)
        ]
    return found


def answers(cursor: Any, charset: str) -> Answers:
    """What the server makes of each sequence that it takes for one character."""
    found: Answers = {}
    asked = sequences(charset)
    for at in range(0, len(asked), 4000):
        part = asked[at : at + 4000]
        hexed = (
            f"hex(convert(convert(cast(x'{each.hex()}' as binary) using {charset}) using utf8mb4))" for each in part
        )
        cursor.execute("SELECT " + ",".join(hexed))
        for each, text in zip(part, cursor.fetchone(), strict=True):
            answer = bytes.fromhex(text or "").decode()
            if len(answer) == 1:
                found[each] = answer
    return found


def differences(charset: str, answered: Answers) -> dict[bytes, str]:
    """What the codec reads otherwise; what it does not read is a question mark."""
    found = {}
    for each, answer in answered.items():
        try:
            ours = each.decode(CODECS[charset])
        except UnicodeDecodeError:
            ours = "?"
        if ours != answer:
            found[each] = answer
    return found


def runs(found: dict[bytes, str]) -> str:
    """Bytes that follow one another and mean characters that do so as one."""
    out: list[list[int]] = []
    for each, answer in sorted(found.items()):
        number, character = int.from_bytes(each, "big"), ord(answer)
        if out and out[-1][1] == number - 1 and character == out[-1][2] + number - out[-1][0]:
            out[-1][1] = number
        else:
            out.append([number, number, character])
    return " ".join(f"{a:x}={c:x}" if a == b else f"{a:x}-{b:x}={c:x}" for a, b, c in out)


def collations(cursor: Any, is_mariadb: bool) -> dict[int, str]:
    """Charsets by the numbers of their collations."""
    table = "COLLATION_CHARACTER_SET_APPLICABILITY" if is_mariadb else "COLLATIONS"
    cursor.execute(f"SELECT id, character_set_name FROM information_schema.{table} WHERE id IS NOT NULL")
    return {int(number): "utf8mb3" if name == "utf8" else name for number, name in cursor.fetchall()}


def intervals(numbers: Iterable[int]) -> str:
    out: list[list[int]] = []
    for number in sorted(numbers):
        if out and out[-1][1] == number - 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def _literal(name: str, text: str) -> str:
    lines = textwrap.wrap(text, 100) or [""]
    return (
        f'    "{name}": '
        + "\n    ".join(f'"{line} "' for line in lines[:-1])
        + (("\n    " if len(lines) > 1 else "") + f'"{lines[-1]}",')
    )


def main() -> None:
    names: dict[int, str] = {}
    otherwise: dict[str, str] = {}
    for kind in (MariaDB, MySQL9):
        with kind() as server, server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = ''")
            of_server = collations(cursor, kind is MariaDB)
            assert all(names.get(number, name) == name for number, name in of_server.items()), "they contradict"
            names |= of_server
            for charset in set(CODECS) & set(of_server.values()):
                text = runs(differences(charset, answers(cursor, charset)))
                # bytes that are no character are answered in other ways by each; what both answer is the same
                assert kind is MySQL9 or charset not in otherwise
                if charset in MANY_BYTES and kind is MariaDB:
                    continue
                assert otherwise.setdefault(charset, text) == text, f"{charset}: they differ"
    by_name: dict[str, list[int]] = {}
    for number, name in names.items():
        by_name.setdefault(name, []).append(number)
    out = [
        '"""What servers make of bytes, as they answered: written by tests/replication/binlog/charset_tables.py."""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Final",
        "",
        "#: Numbers of collations, by charset; MariaDB's and MySQL's do not contradict one another.",
        "COLLATIONS: Final = {",
        *(_literal(name, intervals(numbers)) for name, numbers in sorted(by_name.items())),
        "}",
        "#: Codecs of Python that are nearest to the charsets.",
        "CODECS: Final = {",
        *(f'    "{name}": "{codec}",' for name, codec in CODECS.items()),
        "}",
        "#: What those read otherwise: bytes, first and last of a run, and the character of the first, in hexadecimal.",
        "OTHERWISE: Final = {",
        *(_literal(name, text) for name, text in sorted(otherwise.items()) if text),
        "}",
        "",
    ]
    assert binlog.__file__ is not None
    (Path(binlog.__file__).parent / "charsetdata.py").write_text("\n".join(out))


if __name__ == "__main__":
    main()
