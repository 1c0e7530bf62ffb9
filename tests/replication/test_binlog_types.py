"""Every type, charset and key with its hardest values, by way of the binary log: over HTTP they are what SELECT gives.

The tables are copied while they are empty, so that every value came as an event, and was never read by SELECT.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.mariadb import MariaDB
from tests.replication.binlog.logs import Logged
from tests.replication.binlog.record import DOCUMENTS, insert_hard_rows
from tests.replication.binlogging import COPIED, binlog, log_lines, log_server
from tests.replication.comparing import differences, held_rows, key_columns, reading, source_rows
from tests.replication.following import SERVERS, Node
from tests.replication.test_types import BESIDE, CHARSETS, KEYS, MYSQL_TABLE, create_sql
from tests.test_mariadb_roundtrip import TABLE

KEYED = {f"{beside}{place}": (place, beside) for place in range(len(KEYS)) for beside in BESIDE}
TABLES = ["everything", "charsets", "documents", *KEYED]


class Types:
    """A node that has followed the tables since they were empty, and a session at the source."""

    def __init__(self, node: Node, at: Logged) -> None:
        self.node = node
        self.at = at
        self.copied = len(log_lines(node, *COPIED))

    def differences(self, *tables: str) -> dict[str, list[str]]:
        """By table; {} when all are equal now, and nothing of it was read by SELECT."""
        self.node.settle()
        assert len(log_lines(self.node, *COPIED)) == self.copied, self.node.log()
        assert self.node.status()["counts"]["differences"] == 0
        found = {}
        with reading(self.at.server.connect, "shop") as cursor:
            for table in tables:
                theirs = source_rows(cursor, table)
                for row in theirs.values():
                    if row.get("d2") and table == "everything":
                        row["d2"] = str(Decimal(row["d2"]))  # ZEROFILL is how a number is shown, not what it is
                ours = held_rows(self.node.live.client, self.node.live.url, table, key_columns(cursor, table))
                if told := differences(ours, theirs):
                    found[table] = told
        return found

    def rows(self, table: str) -> int:
        return int(self.node.live.get(f"command=select&table={table}&type=count").json()["count"])


@pytest.fixture(scope="module", params=SERVERS)
def types(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Types]:
    everything = TABLE if request.param is MariaDB else MYSQL_TABLE
    keyed = [create_sql(place, beside) for place, beside in KEYED.values()]
    options = {"check_s": 3600, "audit_s": 0}
    with (
        log_server(request.param) as server,
        Logged(server, everything, CHARSETS, DOCUMENTS, *keyed, database="shop") as at,
        binlog(server, "shop", tmp_path_factory.mktemp("types"), TABLES, **options) as node,
    ):
        yield Types(node, at)


def test_rows_of_every_type_and_charset_that_came_and_changed_are_those_that_select_gives(types: Types) -> None:
    at, tables = types.at, ("everything", "charsets")
    insert_hard_rows(at)
    assert types.differences(*tables) == {}
    assert [types.rows(table) for table in tables] == [4, 4]
    at.query("UPDATE everything SET id = id - 1, ti = 1 WHERE id > 1 ORDER BY id")
    at.query("UPDATE charsets SET k8 = 'Привет, ответ' WHERE id < 3")
    assert types.differences(*tables) == {}
    at.query("SET SESSION time_zone = '-05:00'")
    at.query("UPDATE everything SET ti = 2")
    at.query("SET SESSION time_zone = '+00:00'")
    at.query("DELETE FROM charsets WHERE id = 3")
    assert types.differences(*tables) == {}
    at.query("DELETE FROM everything")
    assert types.differences(*tables) == {}
    assert types.rows("everything") == 0


def test_documents_that_change_in_parts_are_those_that_select_gives(types: Types) -> None:
    at = types.at
    if at.is_mysql:
        at.query("SET SESSION binlog_row_value_options = PARTIAL_JSON")
    documents = (
        '{"a": 1, "b": [1, 2.50, "x", null, true], "ccc": {"d": {}}}',
        "[0, 255, -32768, 18446744073709551615]",
    )
    for number, document in enumerate(documents):
        at.query("INSERT INTO documents VALUES (%s, %s, '{}', 'x')", (number, document))
    at.query("UPDATE documents SET j = JSON_SET(j, '$.a', 'longer than it was', '$.b[1]', 7), t = 'y' WHERE id = 0")
    at.query("UPDATE documents SET j = JSON_REMOVE(j, '$.b[0]'), k = JSON_SET(k, '$.new', 1) WHERE id = 0")
    at.query("UPDATE documents SET j = JSON_SET(j, '$.ccc.d.f', 1.5, '$.b[2]', NULL) WHERE id = 0")
    at.query("UPDATE documents SET j = JSON_REPLACE(j, '$[0]', 'ü'), k = NULL WHERE id = 1")
    assert types.differences("documents") == {}
    at.query("UPDATE documents SET t = 'z'")
    if at.is_mysql:
        at.query("SET SESSION binlog_row_value_options = ''")
    at.query("UPDATE documents SET j = JSON_SET(j, '$.last', 'whole')")
    assert types.differences("documents") == {}


def test_keys_of_every_type_come_change_and_go(types: Types) -> None:
    at = types.at
    at.query("SET SESSION sql_mode = ''")
    for table, (place, beside) in KEYED.items():
        for number, value in enumerate(KEYS[place][1]):
            given = value if beside == "alone" else f"1,{value}"
            at.query(f"INSERT INTO {table} VALUES ({given}, {number})")
    assert types.differences(*KEYED) == {}
    for table, (_, beside) in KEYED.items():
        at.query(f"UPDATE {table} SET n = n + 10")
        if beside != "alone":
            at.query(f"UPDATE {table} SET p = 2 WHERE n = 11")
        at.query(f"DELETE FROM {table} WHERE n = 10")
    assert types.differences(*KEYED) == {}
    assert all(types.rows(table) == len(KEYS[place][1]) - 1 for table, (place, _) in KEYED.items())
