"""Catalogue, key texts, triggers and their replacement at a real MySQL 9."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tcsql.replication.catalogue import read_triggers
from tcsql.replication.facts import Account
from tcsql.replication.preflight import NOTE, WARN
from tests.replication.at_source import AtSource
from tests.replication.mysql9 import MySQL9, needs_mysql9
from tests.replication.test_keytext import KINDS, Source, reads_only_what_it_gives, there_and_back

pytestmark = needs_mysql9
#: What MySQL has not: types of MariaDB, and moments within the first second of 1970.
_MARIADB_ONLY = ("uuid", "inet4", "inet6", "timestamp")


@pytest.fixture(scope="module")
def server() -> Iterator[MySQL9]:
    with MySQL9() as running:
        yield running


def test_keys_have_one_text_there_and_one_value_here(server: MySQL9) -> None:
    with server.database("keys") as connection:
        source = Source(connection, "mysql")
        for kind, (declared, keys) in KINDS.items():
            if kind not in _MARIADB_ONLY:
                there_and_back(source, kind, declared.replace("utf8mb4_nopad_bin", "utf8mb4_0900_bin"), keys)
        there_and_back(source, "fraction", KINDS["timestamp"][0], [KINDS["timestamp"][1][at] for at in (0, 2, 3)])
        for key in ("a INT, b INT", "a VARCHAR(20) CHARSET latin1 COLLATE latin1_general_ci, b INT"):
            reads_only_what_it_gives(source, key)


def test_setting_up_checking_and_putting_right(server: MySQL9) -> None:
    with server.database("sh-op"):
        source = AtSource(server, "sh-op")
        try:
            source.run(
                """CREATE TABLE posts (id INT PRIMARY KEY, js JSON, ts TIMESTAMP NULL)
                CREATE TABLE parents (id INT PRIMARY KEY)"""
            )
            first = source.facts()
            assert first.account == Account("root", "localhost") and first.grants is not None
            assert first.grants.allows("PROCESS") and first.functions == {}
            assert {code: finding.severity for code, finding in source.findings().items()} == {"not_set_up": NOTE}
            table = first.tables["posts"]
            assert table is not None and table.column("js") and table.incarnation
            assert [column.is_json for column in table.columns] == [False, True, False]

            assert len(source.set_up()) == 4 and source.set_up() == [] and source.findings() == {}
            source.run("INSERT INTO posts (id) VALUES (1)\nUPDATE posts SET id = 2\nDELETE FROM posts")
            assert [(op, key) for _, op, key in source.noted()] == [("I", "1"), ("U", "2"), ("U", "1"), ("D", "2")]

            update = next(each.name for each in read_triggers(source.query, "sh-op", "posts") if "_upd" in each.name)
            source.run(f"DROP TRIGGER {update}\nCREATE TRIGGER {update} AFTER UPDATE ON posts FOR EACH ROW SET @x = 1")
            assert f"{update} is changed" in source.findings()["triggers"].message
            made = source.set_up()
            assert made[0].startswith("LOCK TABLES") and made[-1] == "UNLOCK TABLES" and source.findings() == {}

            source.query("TRUNCATE posts")
            again = source.facts().tables["posts"]
            assert again is not None and again.incarnation != table.incarnation
            source.query(
                "ALTER TABLE posts ADD pid INT, ADD FOREIGN KEY (pid) REFERENCES parents (id) ON DELETE CASCADE"
            )
            assert set(source.findings()) == {"foreign_key"}
            source.run(
                f"{source.findings()['foreign_key'].statement}\nALTER TABLE posts PARTITION BY HASH (id) PARTITIONS 2"
            )
            assert {code: each.severity for code, each in source.findings().items()} == {"partitions": NOTE}
            parts = source.facts().tables["posts"]
            assert parts is not None and parts.incarnation.count("-") == 1
            source.query("SET GLOBAL read_only = 1")
            assert source.findings()["read_only"].severity == WARN
            source.query("SET GLOBAL read_only = 0")
        finally:
            source.close()


def test_rights_of_an_account_are_read(server: MySQL9) -> None:
    with server.database("shop"):
        source = AtSource(server, "shop")
        source.run("CREATE TABLE posts (id INT PRIMARY KEY)\nCREATE USER reader@localhost")
        try:
            for sql in source.set_up():
                assert "GRANT" not in sql, "root has every right"
            facts = source.facts(user="reader")
            assert facts.account == Account("reader", "localhost") and facts.grants is not None
            assert not facts.grants.allows("SELECT", "shop", "posts")
            source.run(
                "GRANT SELECT (id), TRIGGER ON shop.posts TO reader@localhost\nGRANT PROCESS ON *.* TO reader@localhost"
            )
            held = source.facts(user="reader").grants
            assert held is not None and held.columns("SELECT", "shop", "posts") == {"id"}
            assert held.allows("TRIGGER", "shop", "posts") and held.allows("PROCESS")
        finally:
            source.query("DROP USER reader@localhost")
            source.close()
