"""Tables that cannot be followed, and sources that cannot be used: refused, with the reason and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from tests.mariadb import MariaDB
from tests.replication.following import Node, following

Connection = pymysql.connections.Connection
PARENT = "CREATE TABLE parent (id INT PRIMARY KEY) ENGINE=InnoDB"
CHILD = """CREATE TABLE {0} (id INT PRIMARY KEY, parent INT,
    FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE {1} ON UPDATE {2}) ENGINE=InnoDB"""
#: By table: how it is made, and what is said of it.
REFUSED = {
    "keyless": ("CREATE TABLE keyless (id INT) ENGINE=InnoDB", "primary key"),
    "myisam": ("CREATE TABLE myisam (id INT PRIMARY KEY) ENGINE=MyISAM", "MyISAM"),
    "aria": ("CREATE TABLE aria (id INT PRIMARY KEY) ENGINE=Aria", "Aria"),
    "cascades": (CHILD.format("cascades", "CASCADE", "RESTRICT"), "CASCADE"),
    "renumbers": (CHILD.format("renumbers", "RESTRICT", "CASCADE"), "CASCADE"),
    "nulls": (CHILD.format("nulls", "SET NULL", "RESTRICT"), "SET NULL"),
    "prefix": ("CREATE TABLE prefix (id TEXT, PRIMARY KEY (id(10)))", "primary key"),
    "seen": ("CREATE VIEW seen AS SELECT id FROM parent", "view"),
    "nowhere": ("SELECT 1", "no table"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with MariaDB() as running:
        yield running


def test_tables_that_cannot_be_followed_are_refused_with_the_reason_and_nothing_is_made(
    server: MariaDB, tmp_path: Path
) -> None:
    with server.database("shop") as connection:
        for statement in (PARENT, *(made for made, _ in REFUSED.values())):
            connection.cursor().execute(statement)
        node = Node(server, "shop", tmp_path, list(REFUSED))
        node.write_config()
        checked, set_up = node.check(), node.try_setup()
        lines = (checked.stdout + checked.stderr).splitlines()
        for name, (_, said) in REFUSED.items():
            assert any(name in line and said in line for line in lines), f"{name}: {said}, in:\n{lines}"
        assert checked.returncode != 0
        assert set_up.returncode != 0
        assert any(name in set_up.stderr for name in REFUSED)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM information_schema.triggers WHERE trigger_schema = 'shop'")
            assert cursor.fetchone() == (0,)


def test_a_cascade_that_comes_later_is_detected(server: MariaDB, tmp_path: Path) -> None:
    with server.database("shop") as connection:
        cursor = connection.cursor()
        cursor.execute(PARENT)
        cursor.execute("CREATE TABLE child (id INT PRIMARY KEY, parent INT, KEY (parent)) ENGINE=InnoDB")
        cursor.execute("INSERT INTO parent VALUES (1),(2)")
        cursor.execute("INSERT INTO child VALUES (1,1),(2,2)")
        with following(server, "shop", tmp_path, ["child"]) as node:
            cursor.execute("ALTER TABLE child ADD FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE")
            node.wait_for(lambda: "problem" in node.table_status("child"))
            assert "CASCADE" in node.table_status("child")["problem"]


def test_a_table_that_becomes_myisam_is_detected(server: MariaDB, tmp_path: Path) -> None:
    with server.database("shop") as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE child (id INT PRIMARY KEY, n INT) ENGINE=InnoDB")
        cursor.execute("INSERT INTO child VALUES (1,1),(2,2)")
        with following(server, "shop", tmp_path, ["child"]) as node:
            cursor.execute("ALTER TABLE child ENGINE=MyISAM")
            node.wait_for(lambda: "problem" in node.table_status("child"))
            assert "MyISAM" in node.table_status("child")["problem"]
            cursor.execute("ALTER TABLE child ENGINE=InnoDB")
            node.wait_until_following()
            cursor.execute("UPDATE child SET n = 5")
            node.assert_equal()
