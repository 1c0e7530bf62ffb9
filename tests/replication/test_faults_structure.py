"""Outbox: what triggers do not see is detected, and leads to a copy that can be seen, or to a refusal with its remedy.

One node follows a table for each test; it looks at the tables once a second.
"""

from __future__ import annotations

from collections.abc import Iterator

import pymysql
import pytest

from tests.replication.following import SERVERS_IN_TURN, Node, following

Connection = pymysql.connections.Connection
PLAIN = "(id INT PRIMARY KEY, n INT NOT NULL, title VARCHAR(40)) ENGINE=InnoDB"
LOST = ("lost_insert", "lost_update", "lost_delete", "changed")
NAMES = ("added", "dropped", "renamed_column", "retyped", "moved", "swapped", "truncated", *LOST, "bystander")
PARTED = """CREATE TABLE {0} (id INT PRIMARY KEY, n INT NOT NULL, title VARCHAR(40)) ENGINE=InnoDB
    PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (50), PARTITION high VALUES LESS THAN MAXVALUE)"""

#: By table: what is done to its partition of the first 50 rows, and how many rows are left.
ALTERED = {
    "parted": ("TRUNCATE PARTITION low", 50),
    "halved": ("DROP PARTITION low", 50),
    "exchanged": ("EXCHANGE PARTITION low WITH TABLE other_rows", 51),
    "reordered": (
        "REORGANIZE PARTITION high INTO (PARTITION mid VALUES LESS THAN (70), PARTITION top VALUES LESS THAN MAXVALUE)",
        100,
    ),
}


@pytest.fixture(scope="module", params=SERVERS_IN_TURN)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with request.param() as server, server.database("shop") as connection:
        cursor = connection.cursor()
        for name in NAMES:
            cursor.execute(f"CREATE TABLE {name} {PLAIN}")
        for name in ALTERED:
            cursor.execute(PARTED.format(name))
        for name in (*NAMES, *ALTERED):
            cursor.executemany(f"INSERT INTO {name} VALUES (%s,%s,'x')", [(each, each % 7) for each in range(100)])
        directory = tmp_path_factory.mktemp("structure")
        with following(server, "shop", directory, [*NAMES, *ALTERED], poll_ms=20) as running:
            yield running


@pytest.fixture
def writer(node: Node) -> Iterator[Connection]:
    with node.server.connect("shop") as connection:
        yield connection


def run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.cursor().execute(statement)


def problem_of(node: Node, table: str) -> str:
    status = node.table_status(table)
    return f"{status['problem']} ({status['remedy']})" if "problem" in status else ""


def others_follow(node: Node, writer: Connection, table: str) -> None:
    """Trouble with one table is that table's."""
    run(writer, "UPDATE bystander SET n = n + 1 WHERE id = 1")
    node.assert_equal([name for name in node.tables if name != table])


def test_columns_that_are_added_dropped_renamed_or_retyped_are_here_as_they_are_there(
    node: Node, writer: Connection
) -> None:
    run(writer, "ALTER TABLE added ADD COLUMN more VARCHAR(20) NOT NULL DEFAULT 'default' AFTER id")
    run(writer, "UPDATE added SET more = 'set' WHERE id < 10", "INSERT INTO added VALUES (1000,'new',1,'row')")
    run(writer, "ALTER TABLE dropped DROP COLUMN title", "INSERT INTO dropped VALUES (1000,1)")
    run(writer, "ALTER TABLE renamed_column RENAME COLUMN title TO label")
    run(writer, "UPDATE renamed_column SET label = 'y' WHERE id = 5")
    run(writer, "ALTER TABLE retyped MODIFY n VARCHAR(20) NOT NULL", "UPDATE retyped SET n = 'seven' WHERE n = '5'")
    node.wait_until_equal(["added", "dropped", "renamed_column", "retyped"])
    assert node.live.rows("table=added&where=id:NUMEQ:1000") == [{"id": 1000, "more": "new", "n": 1, "title": "row"}]
    assert node.live.rows("table=dropped&where=id:NUMEQ:1000") == [{"id": 1000, "n": 1}]
    assert node.live.rows("table=renamed_column&where=label:STREQ:y")[0]["id"] == 5
    assert node.live.rows("table=retyped&where=id:NUMEQ:5")[0]["n"] == "seven"
    node.wait_until_following()
    run(writer, "UPDATE added SET more = 'later'", "DELETE FROM dropped WHERE id < 5")
    run(writer, "UPDATE retyped SET n = '7'", "UPDATE renamed_column SET label = 'z' WHERE id = 6")
    node.assert_equal()


def test_a_truncated_table_is_copied_again_and_says_so(node: Node, writer: Connection) -> None:
    run(writer, "TRUNCATE TABLE truncated", "INSERT INTO truncated VALUES (7,7,'after')")
    node.wait_until_equal(["truncated"])
    assert [row["id"] for row in node.live.rows("table=truncated")] == [7]
    assert "truncated is copied" in node.log()
    others_follow(node, writer, "truncated")


def test_partitions_that_are_emptied_dropped_or_exchanged_are_noticed(node: Node, writer: Connection) -> None:
    run(writer, f"CREATE TABLE other_rows {PLAIN}", "INSERT INTO other_rows VALUES (7,7,'of the other table')")
    run(writer, *(f"ALTER TABLE {table} {done}" for table, (done, _) in ALTERED.items()))
    node.wait_until_equal(list(ALTERED))
    for table, (_, left) in ALTERED.items():
        assert len(node.live.rows(f"table={table}&limit_max=1000")) == left
    node.wait_until_following()
    run(writer, *(f"UPDATE {table} SET n = n + 1 WHERE id = 60" for table in ALTERED))
    node.assert_equal()


def test_a_table_that_is_renamed_away_is_refused_and_followed_when_it_is_back(node: Node, writer: Connection) -> None:
    run(writer, "RENAME TABLE moved TO elsewhere")
    node.wait_for(lambda: "no such table" in problem_of(node, "moved"))
    answer = node.live.get("command=select&table=moved&type=count")
    assert answer.json() == {"count": 100}
    assert answer.headers["tcsql-stale"]
    others_follow(node, writer, "moved")
    run(writer, "DELETE FROM elsewhere WHERE id < 30", "RENAME TABLE elsewhere TO moved")
    run(writer, "UPDATE moved SET n = 99 WHERE id = 50")
    node.wait_until_equal(["moved"])
    node.wait_until_following()


def test_a_table_that_was_swapped_needs_its_triggers_and_is_copied_then(node: Node, writer: Connection) -> None:
    run(writer, f"CREATE TABLE next {PLAIN}", "INSERT INTO next VALUES (1,1,'of the other table')")
    run(writer, "RENAME TABLE swapped TO previous, next TO swapped")
    node.wait_for(lambda: "trigger" in problem_of(node, "swapped"))
    assert "tcsql mysql setup" in problem_of(node, "swapped")
    others_follow(node, writer, "swapped")
    run(writer, "UPDATE swapped SET title = 'unseen by any trigger'")
    node.setup()
    node.wait_until_equal(["swapped"])
    node.wait_until_following()
    run(writer, "UPDATE swapped SET title = 'seen'")
    node.assert_equal()


def trigger_of(writer: Connection, table: str, event: str) -> str:
    with writer.cursor() as cursor:
        cursor.execute(
            """SELECT trigger_name FROM information_schema.triggers WHERE event_object_schema = 'shop'
            AND event_object_table = %s AND event_manipulation = %s""",
            (table, event),
        )
        [found] = cursor.fetchall()
        return f"`{found[0]}`"


def test_lost_and_changed_triggers_are_told_and_what_was_missed_is_copied(node: Node, writer: Connection) -> None:
    for event in ("INSERT", "UPDATE", "DELETE"):
        run(writer, f"DROP TRIGGER {trigger_of(writer, f'lost_{event.lower()}', event)}")
    changed = trigger_of(writer, "changed", "DELETE")
    run(writer, f"DROP TRIGGER {changed}")
    run(writer, f"CREATE TRIGGER {changed} AFTER DELETE ON changed FOR EACH ROW SET @nothing = 1")
    for table in LOST:
        run(writer, f"INSERT INTO {table} VALUES (1000,1,'missed')", f"UPDATE {table} SET n = 99 WHERE id = 3")
        run(writer, f"DELETE FROM {table} WHERE id = 5")
    for table in LOST:
        node.wait_for(lambda table=table: "trigger" in problem_of(node, table))
        assert "tcsql mysql setup" in problem_of(node, table)
    checked = node.check()
    assert checked.returncode != 0
    assert all(table in checked.stdout for table in LOST)
    node.assert_equal([name for name in node.tables if name not in LOST])
    node.setup()
    node.wait_until_equal(LOST)
    node.wait_until_following()
    for table in LOST:
        run(writer, f"DELETE FROM {table} WHERE id = 1000", f"INSERT INTO {table} VALUES (5,5,'back')")
        run(writer, f"UPDATE {table} SET n = 98 WHERE id = 3")
    node.assert_equal()
