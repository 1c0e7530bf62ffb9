"""Binary log: tables that change their form, lose their rows or are swapped, by every statement that does it.

Every value says which column it was written to, so that one in another column is seen at once. One node follows a
table for each test. Nobody looks at tables because a clock says so: the log has to lead to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from tests.replication.binlogging import COPIED, binlog, is_mysql, is_stale, log_lines, log_server, run
from tests.replication.following import SERVERS_IN_TURN, Node
from tests.replication.shapes import PLAIN, insert, others_follow, reading_all_the_time, row

Connection = pymysql.connections.Connection
ROWS = 100
MANY = 3_000
NAMES = (
    *("added", "dropped", "renamed", "retyped", "crossed", "turned", "indexed", "rebuilt", "shaken"),
    *("swapped", "selected", "shadowed", "bystander", "slow"),
)
PARTED = """CREATE TABLE {0} (id INT PRIMARY KEY, one VARCHAR(40) NOT NULL, two VARCHAR(40) NOT NULL, n INT NOT NULL)
    ENGINE=InnoDB PARTITION BY RANGE (id)
    (PARTITION low VALUES LESS THAN (50), PARTITION high VALUES LESS THAN MAXVALUE)"""
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
#: As they are written in applications, {0}: the table; the last ones for MariaDB alone.
TRUNCATES = (
    "TRUNCATE TABLE {0}",
    "truncate {0}",
    "TrUnCaTe\tTABLE\n`shop`.`{0}`",
    "/* cleaning */ TRUNCATE /* all of */ TABLE {0}",
    "-- cleaning\nTRUNCATE {0}",
    "# cleaning\n  truncate table shop . {0} ;",
    "/*!50000 TRUNCATE TABLE {0} */",
    "TRUNCATE TABLE {0} WAIT 5",
    "/*M!100000 TRUNCATE TABLE {0} */",
)


@pytest.fixture(scope="module", params=SERVERS_IN_TURN)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with log_server(request.param) as server, server.database("shop") as connection:
        for name in NAMES:
            run(connection, f"CREATE TABLE {name} {PLAIN}", insert(name, 0, ROWS))
        for name in ALTERED:
            run(connection, PARTED.format(name), insert(name, 0, ROWS))
        for start in range(ROWS, MANY, 500):
            run(connection, insert("slow", start, start + 500))
        directory = tmp_path_factory.mktemp("structure")
        options: dict[str, Any] = {"check_s": 3600, "audit_s": 0, "copy_rows": 100}
        with binlog(server, "shop", directory, [*NAMES, *ALTERED], **options) as running:
            yield running


@pytest.fixture
def writer(node: Node) -> Iterator[Connection]:
    node.wait_until_following()
    with node.server.connect("shop") as connection:
        yield connection


def test_columns_that_are_added_dropped_renamed_or_retyped_are_here_as_they_are_there(
    node: Node, writer: Connection
) -> None:
    with reading_all_the_time(node, "dropped"), reading_all_the_time(node, "renamed"):
        run(writer, "ALTER TABLE added ADD COLUMN more VARCHAR(20) NOT NULL DEFAULT 'more' AFTER id")
        run(
            writer,
            "UPDATE added SET more = 'more set' WHERE id < 10",
            "INSERT INTO added VALUES (1000,'new','a','b',1)",
        )
        run(writer, "UPDATE dropped SET n = 50", "ALTER TABLE dropped DROP COLUMN one")
        run(writer, "INSERT INTO dropped VALUES (1000,'two new',1)", "UPDATE dropped SET two = 'two set' WHERE id = 7")
        run(writer, "ALTER TABLE renamed RENAME COLUMN one TO three", "UPDATE renamed SET three = 'one y' WHERE id = 5")
        run(writer, "ALTER TABLE retyped MODIFY n VARCHAR(20) NOT NULL", "UPDATE retyped SET n = 'seven' WHERE n = '5'")
        tables = ["added", "dropped", "renamed", "retyped"]
        node.wait_until_equal(tables)
    node.wait_until_following()
    run(writer, "UPDATE added SET more = 'later'", "DELETE FROM dropped WHERE id < 5")
    run(writer, "UPDATE retyped SET n = '7'", "UPDATE renamed SET three = 'one z' WHERE id = 6")
    node.assert_equal()


def test_columns_that_change_places_or_names_never_take_the_values_of_one_another(
    node: Node, writer: Connection
) -> None:
    """The types are the same, so that nothing but the names can tell. Writers go on between all steps."""
    last = 1_000
    with reading_all_the_time(node, "crossed"), reading_all_the_time(node, "turned"):
        for _ in range(4):
            run(writer, "ALTER TABLE turned MODIFY two VARCHAR(40) NOT NULL AFTER id")
            run(writer, f"INSERT INTO turned (id,one,two,n) VALUES {row(last)}", "UPDATE turned SET n = n + 1")
            run(writer, "ALTER TABLE turned MODIFY one VARCHAR(40) NOT NULL AFTER id")
            run(writer, f"INSERT INTO turned (id,one,two,n) VALUES {row(last + 1)}", "UPDATE turned SET n = n + 1")
            run(writer, "ALTER TABLE crossed RENAME COLUMN one TO two, RENAME COLUMN two TO one")
            run(writer, f"INSERT INTO crossed (id,two,one,n) VALUES {row(last)}", "UPDATE crossed SET n = n + 1")
            run(writer, "ALTER TABLE crossed RENAME COLUMN two TO one, RENAME COLUMN one TO two")
            run(writer, f"INSERT INTO crossed VALUES {row(last + 1)}", "UPDATE crossed SET n = n + 1")
            last += 2
        node.wait_until_equal(["crossed", "turned"])
    node.wait_until_following()
    run(writer, "UPDATE crossed SET n = 1", "UPDATE turned SET n = 1")
    node.assert_equal()


def test_indexes_statistics_and_rebuilds_change_no_row(node: Node, writer: Connection) -> None:
    run(writer, "ALTER TABLE indexed ADD INDEX by_n (n)", "UPDATE indexed SET n = 1 WHERE id < 10")
    run(writer, "CREATE INDEX by_one ON indexed (one)", "UPDATE indexed SET n = 2 WHERE id < 9")
    run(writer, "DROP INDEX by_n ON indexed", "UPDATE indexed SET n = 3 WHERE id < 8")
    run(writer, "ALTER TABLE rebuilt FORCE", "UPDATE rebuilt SET n = 1 WHERE id < 10")
    for statement in ("OPTIMIZE TABLE rebuilt", "ANALYZE TABLE rebuilt"):
        with writer.cursor() as cursor:
            cursor.execute(statement)
            cursor.fetchall()
    run(writer, "ALTER TABLE rebuilt COMMENT = 'TRUNCATE TABLE bystander'", "UPDATE rebuilt SET n = 3 WHERE id < 8")
    node.wait_until_equal()
    node.wait_until_following()
    node.assert_equal()


def test_tables_that_are_not_followed_may_change_as_they_like(node: Node, writer: Connection) -> None:
    node.settle()
    before = len(log_lines(node, *COPIED))
    run(writer, f"CREATE TABLE foreign_one {PLAIN}", insert("foreign_one", 0, 10))
    run(writer, "ALTER TABLE foreign_one DROP COLUMN one", "INSERT INTO foreign_one VALUES (100,'x',1)")
    run(writer, "RENAME TABLE foreign_one TO foreign_two", "TRUNCATE foreign_two", "DROP TABLE foreign_two")
    run(writer, f"CREATE TEMPORARY TABLE shadowed {PLAIN}", "INSERT INTO shadowed VALUES (1,'x','y',1)")
    run(writer, "DELETE FROM shadowed", "TRUNCATE TABLE shadowed", "DROP TEMPORARY TABLE shadowed")
    node.wait_until_equal()
    node.wait_until_following()
    node.assert_equal()
    copied = [line for line in log_lines(node, *COPIED)[before:] if "shadowed" not in line]
    assert copied == [], "no followed table was touched"


def test_truncate_is_seen_in_every_spelling(node: Node, writer: Connection) -> None:
    spellings = TRUNCATES[:-2] if is_mysql(node.server) else TRUNCATES
    for number, spelling in enumerate(spellings):
        run(writer, "DELETE FROM shaken", insert("shaken", 0, 20))
        node.assert_equal(["shaken"])
        run(writer, spelling.format("shaken"), f"INSERT INTO shaken VALUES {row(number)}")
        node.wait_until_equal(["shaken"])
        assert [each["id"] for each in node.live.rows("table=shaken")] == [number], spelling
        node.wait_until_following()
    with node.server.connect("mysql") as elsewhere:  # another database is the session's own
        run(elsewhere, "TRUNCATE shop.shaken")
    node.wait_until_equal(["shaken"])
    others_follow(node, writer)


def test_partitions_that_are_emptied_dropped_or_exchanged_are_noticed(node: Node, writer: Connection) -> None:
    run(writer, f"CREATE TABLE other_rows {PLAIN}", f"INSERT INTO other_rows VALUES {row(7)}")
    run(writer, *(f"ALTER TABLE {table} {done}" for table, (done, _) in ALTERED.items()))
    node.wait_until_equal(list(ALTERED))
    for table, (_, left) in ALTERED.items():
        assert len(node.live.rows(f"table={table}&limit_max=1000")) == left
    node.wait_until_following()
    run(writer, *(f"UPDATE {table} SET n = n + 1 WHERE id = 60" for table in ALTERED))
    node.assert_equal()


def test_a_table_made_of_a_query_or_swapped_with_another_is_noticed(node: Node, writer: Connection) -> None:
    run(writer, f"CREATE TABLE next {PLAIN}", f"INSERT INTO next VALUES {row(1)}", "UPDATE swapped SET n = 70")
    run(writer, "RENAME TABLE swapped TO previous, next TO swapped", "UPDATE previous SET n = 71")
    run(writer, "UPDATE swapped SET n = 72")
    if is_mysql(node.server):
        run(
            writer,
            "DROP TABLE selected",
            "CREATE TABLE selected (PRIMARY KEY (id)) SELECT * FROM bystander WHERE id < 9",
        )
    else:
        run(writer, "CREATE OR REPLACE TABLE selected (PRIMARY KEY (id)) SELECT * FROM bystander WHERE id < 9")
    run(writer, "INSERT INTO selected SELECT id + 100, one, two, n FROM selected")
    try:
        node.wait_for(lambda: node.status()["state"] == "asking", 3)  # more than half of the rows would go
        node.ask("accept")
    except AssertionError:
        assert node.differences(["swapped", "selected"]) == {}
    node.wait_until_equal(["swapped", "selected"])
    node.wait_until_following()
    run(writer, "UPDATE swapped SET n = 73", "UPDATE selected SET n = 74")
    node.assert_equal()


def test_while_another_form_is_copied_the_old_list_answers_and_says_that_it_is_stale(
    node: Node, writer: Connection
) -> None:
    with reading_all_the_time(node, "slow") as reader:
        run(writer, "ALTER TABLE slow ADD COLUMN more VARCHAR(40) NOT NULL DEFAULT 'more'")
        run(writer, "UPDATE slow SET more = 'more set', n = n + 1 WHERE id % 2 = 0", "DELETE FROM slow WHERE id = 17")
        node.wait_until_equal(["slow"])
        node.wait_until_following()
    assert reader.forms == [("id", "one", "two", "n"), ("id", "one", "two", "n", "more")]
    assert reader.stale > 0
    node.assert_equal(["slow"])
    assert not is_stale(node, "slow")


def test_changed_while_it_was_stopped_nothing_lands_in_another_column(node: Node, writer: Connection) -> None:
    """The log has rows of three forms, and the tables are asked when they have the last one."""
    node.stop()
    run(writer, f"INSERT INTO crossed VALUES {row(2_000)}")
    run(writer, "ALTER TABLE crossed RENAME COLUMN one TO two, RENAME COLUMN two TO one")
    run(writer, f"INSERT INTO crossed (id,two,one,n) VALUES {row(2_001)}")
    run(writer, "ALTER TABLE crossed ADD COLUMN zero VARCHAR(40) NOT NULL DEFAULT 'zero' AFTER id")
    run(writer, f"INSERT INTO crossed (id,two,one,n) VALUES {row(2_002)}")
    node.start()
    with reading_all_the_time(node, "crossed"):
        node.wait_until_equal()
        node.wait_until_following()
    run(writer, "UPDATE crossed SET zero = 'zero set' WHERE id > 2000")
    node.assert_equal()
