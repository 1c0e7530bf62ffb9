"""The catalogue against a real MariaDB: what is read of tables, what TCSQL keeps of them, when they are others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tcsql.engine.values import Kind
from tcsql.errors import SourceFault
from tcsql.replication.catalogue import CatalogueTable, chosen_columns, definition_of, read_tables, schema_of
from tcsql.replication.grants import grants_of, read_grants
from tests.mariadb import MariaDB
from tests.replication.at_source import AtSource

DATABASE = "sh-op"

TABLES = """CREATE TABLE users (id INT PRIMARY KEY)
CREATE TABLE posts (id BIGINT UNSIGNED AUTO_INCREMENT, lang VARCHAR(9) CHARSET latin1, PRIMARY KEY (lang, id), KEY (id))
ALTER TABLE posts ADD title VARCHAR(80) COLLATE utf8mb4_unicode_ci DEFAULT 'x', ADD uid INT, ADD js JSON
ALTER TABLE posts ADD lt LONGTEXT, ADD ts TIMESTAMP NULL, ADD g INT AS (id+1)
ALTER TABLE posts ADD FOREIGN KEY (uid) REFERENCES users(id) ON DELETE CASCADE ON UPDATE SET NULL
ALTER TABLE posts ADD KEY (uid, title), ADD KEY (ts), ADD FULLTEXT KEY (title)
CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 3
CREATE TABLE bare (id INT)
CREATE VIEW seen AS SELECT * FROM users
CREATE TRIGGER mine BEFORE INSERT ON posts FOR EACH ROW SET NEW.title = 'é'"""


@pytest.fixture(scope="module")
def source() -> Iterator[AtSource]:
    with MariaDB() as server, server.database(DATABASE):
        opened = AtSource(server, DATABASE)
        opened.run(TABLES)
        yield opened
        opened.close()


def table(source: AtSource, name: str) -> CatalogueTable:
    found = read_tables(source.query, DATABASE, [name], "mariadb", sees_ids=True)[name]
    assert found is not None
    return found


def test_a_table_is_read_as_the_server_has_it(source: AtSource) -> None:
    posts = table(source, "posts")
    assert (posts.kind, posts.engine, posts.primary_key) == ("BASE TABLE", "InnoDB", ("lang", "id"))
    assert [column.name for column in posts.key_columns] == ["lang", "id"]
    assert [column.name for column in posts.columns] == ["id", "lang", "title", "uid", "js", "lt", "ts", "g"]
    lang, title = posts.columns[1], posts.columns[2]
    assert (lang.charset, lang.length, lang.nullable, lang.key_position) == ("latin1", 9, False, 1)
    assert (title.collation, title.default) == ("utf8mb4_unicode_ci", "'x'")
    assert [column.name for column in posts.columns if column.is_json] == ["js"]
    assert [column.name for column in posts.columns if column.is_generated] == ["g"]
    [key] = posts.foreign_keys
    assert (key.columns, key.parent_database, key.parent, key.acts) == (("uid",), DATABASE, "users", True)
    assert (key.on_delete, key.on_update) == ("CASCADE", "SET NULL")
    [trigger] = posts.triggers
    assert (trigger.name, trigger.event, trigger.timing) == ("mine", "INSERT", "BEFORE")


def test_what_is_not_there_is_none_and_what_is_no_table_says_so(source: AtSource) -> None:
    found = read_tables(source.query, DATABASE, ["nothing", "seen", "parts"], "mariadb", sees_ids=False)
    assert found["nothing"] is None
    seen, parts = found["seen"], found["parts"]
    assert seen is not None and seen.kind == "VIEW"
    assert parts is not None and parts.partitions == ("p0", "p1", "p2") and parts.incarnation == ""


def test_an_incarnation_changes_by_truncate_and_swap_and_by_nothing_else(source: AtSource) -> None:
    for name in ("users", "parts"):
        before = table(source, name).incarnation
        assert before
        source.query(f"INSERT INTO {name} VALUES (1)")
        source.query(f"DELETE FROM {name}")
        assert table(source, name).incarnation == before
    source.query("ALTER TABLE parts TRUNCATE PARTITION p1")
    assert table(source, "parts").incarnation != before
    source.run("CREATE TABLE a (id INT PRIMARY KEY)\nCREATE TABLE b LIKE a")
    first = table(source, "a").incarnation
    source.query("RENAME TABLE a TO old, b TO a")
    second = table(source, "a").incarnation
    source.query("TRUNCATE a")
    assert len({first, second, table(source, "a").incarnation}) == 3


def test_a_schema_keeps_chosen_columns_and_indexes_over_them(source: AtSource) -> None:
    posts = table(source, "posts")
    whole = schema_of(posts)
    assert whole.names == tuple(column.name for column in posts.columns)
    assert whole.by_name["js"].type.kind is Kind.JSON and whole.by_name["lt"].type.kind is Kind.TEXT
    assert [index.columns for index in whole.indexes] == [("id",), ("uid", "title"), ("ts",), ("title",)]
    assert not any("FOREIGN" in note for note in whole.notes)
    part = schema_of(posts, ("TITLE", "id", "lang"))
    assert part.names == ("id", "lang", "title") and part.primary_key == ("lang", "id")
    assert [(index.columns, index.fulltext) for index in part.indexes] == [(("id",), False), (("title",), True)]


def test_columns_that_cannot_be_chosen_are_named(source: AtSource) -> None:
    posts = table(source, "posts")
    with pytest.raises(SourceFault, match='no column "titel"') as caught:
        chosen_columns(posts, ("id", "lang", "titel"))
    assert caught.value.hint == 'did you mean "title"?'
    with pytest.raises(SourceFault, match="lack lang of its primary key"):
        schema_of(posts, ("id", "title"))
    with pytest.raises(SourceFault, match="bare cannot be kept here"):
        schema_of(table(source, "bare"))


def test_a_definition_is_another_when_values_would_be_others(source: AtSource) -> None:
    source.query("CREATE TABLE changing (id INT PRIMARY KEY, a VARCHAR(9), b INT, ts TIMESTAMP NULL)")
    kept = ("id", "a")

    def digests() -> tuple[str, str]:
        found = table(source, "changing")
        return definition_of(found, zone="+00:00"), definition_of(found, kept)

    whole, part = digests()
    assert (whole, part) == digests()
    source.query("ALTER TABLE changing ADD KEY (a), ALTER COLUMN b SET DEFAULT 5, COMMENT 'x'")
    assert digests() == (whole, part), "neither an index nor a default changes a value"
    assert definition_of(table(source, "changing"), zone="+01:00") != whole
    assert definition_of(table(source, "changing"), kept, zone="+01:00") == part, "no TIMESTAMP is kept"
    assert definition_of(table(source, "changing"), kept, where="b = 1") != part
    source.query("ALTER TABLE changing ADD COLUMN c INT")
    whole_2, part_2 = digests()
    assert whole_2 != whole and part_2 == part, "a column that is not kept does not count"
    source.query("ALTER TABLE changing MODIFY a VARCHAR(9) COLLATE utf8mb4_bin")
    assert digests()[1] != part
    source.query("ALTER TABLE changing DROP PRIMARY KEY, ADD PRIMARY KEY (b)")
    with pytest.raises(SourceFault, match="lack b"):
        digests()


def test_rights_are_those_that_the_server_prints(source: AtSource) -> None:
    assert read_grants(source.query).allows("PROCESS")
    source.run(
        f"""CREATE USER reader@localhost
        GRANT SELECT (id, title), INSERT ON `{DATABASE}`.posts TO reader@localhost
        GRANT SELECT, SHOW VIEW ON `sh\\_p%`.* TO reader@localhost
        GRANT REPLICATION SLAVE ON *.* TO reader@localhost"""
    )
    held = grants_of(row[0] for row in source.query("SHOW GRANTS FOR reader@localhost"))
    source.query("DROP USER reader@localhost")
    assert held.allows("INSERT", DATABASE, "posts") and not held.allows("INSERT", DATABASE, "users")
    assert held.columns("SELECT", DATABASE, "posts") == {"id", "title"}
    assert not held.allows("SELECT", DATABASE, "posts") and not held.allows("PROCESS")
    assert held.allows("SELECT", "sh_part", "x") and not held.allows("SELECT", "shop", "x")
    assert held.allows("REPLICATION SLAVE") and held.allows("SHOW VIEW", "sh_p", "t")


def test_rights_of_other_servers_are_read_the_same_way() -> None:
    lines = [
        "GRANT USAGE ON *.* TO `me`@`%`",
        "GRANT `role`@`%` TO `me`@`%`",
        "GRANT PROXY ON ``@`` TO `root`@`localhost` WITH GRANT OPTION",
        "GRANT SELECT (`a b`, `c``d`), UPDATE ON `d``b`.`t` TO `me`@`%`",
        "GRANT ALL PRIVILEGES ON `own`.* TO `me`@`%` WITH GRANT OPTION",
        "GRANT EXECUTE ON PROCEDURE `own`.`p` TO `me`@`%`",
    ]
    held = grants_of(lines)
    assert held.columns("SELECT", "d`b", "t") == {"a b", "c`d"} and held.allows("UPDATE", "d`b", "t")
    assert held.allows("TRIGGER", "own", "x") and not held.allows("TRIGGER", "other", "x")
    assert not held.allows("USAGE_OF_NOTHING") and not held.allows("PROCESS")
