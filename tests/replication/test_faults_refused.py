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
CHILD = """CREATE TABLE child (id INT PRIMARY KEY, parent INT,
    FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE {0} ON UPDATE {1}) ENGINE=InnoDB"""
REFUSED = {
    "no primary key": ("CREATE TABLE child (id INT) ENGINE=InnoDB", "primary key"),
    "MyISAM": ("CREATE TABLE child (id INT PRIMARY KEY) ENGINE=MyISAM", "MyISAM"),
    "Aria": ("CREATE TABLE child (id INT PRIMARY KEY) ENGINE=Aria", "Aria"),
    "cascade of deletes": (CHILD.format("CASCADE", "RESTRICT"), "CASCADE"),
    "cascade of updates": (CHILD.format("RESTRICT", "CASCADE"), "CASCADE"),
    "set null": (CHILD.format("SET NULL", "RESTRICT"), "SET NULL"),
    "prefix key": ("CREATE TABLE child (id TEXT, PRIMARY KEY (id(10))) ENGINE=InnoDB", "primary key"),
    "view": ("CREATE VIEW child AS SELECT id FROM parent", "child"),
    "not there": ("SELECT 1", "child"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with MariaDB() as running:
        yield running


@pytest.mark.parametrize(("statement", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_table_that_cannot_be_followed_is_refused_by_setup_with_the_reason(
    server: MariaDB, tmp_path: Path, statement: str, said: str
) -> None:
    with server.database("shop") as connection:
        connection.cursor().execute(PARENT)
        connection.cursor().execute(statement)
        node = Node(server, "shop", tmp_path, ["child"], "")
        node.write_config()
        for done in (node.check(), node.try_setup()):
            assert done.returncode != 0, done.stdout
            assert "child" in done.stdout + done.stderr
            assert said in done.stdout + done.stderr
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
