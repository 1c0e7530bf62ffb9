"""Each blind spot is named, with a statement that mends it; what is well is not spoken of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tcsql.errors import SourceFault
from tcsql.replication.catalogue import schema_of
from tcsql.replication.facts import Account, Facts, version_of
from tcsql.replication.grants import grants_of
from tcsql.replication.preflight import NOTE, REFUSE, WARN, examine, require_followable
from tcsql.replication.provision import plan_setup
from tcsql.sources import FollowedTable, SourceSettings
from tests.mariadb import MariaDB
from tests.replication.at_source import AtSource, at_new_database


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with MariaDB() as running:
        yield running


@pytest.fixture
def source(server: MariaDB) -> Iterator[AtSource]:
    with at_new_database(server) as opened:
        yield opened


def codes(source: AtSource) -> dict[str, str]:
    """Code and severity of everything found, but that nothing is set up yet."""
    found = {code: finding.severity for code, finding in source.findings().items()}
    assert found.pop("not_set_up") == NOTE
    return found


def test_a_plain_table_has_nothing_against_it(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY, title VARCHAR(80))")
    assert codes(source) == {}
    source.set_up()
    assert source.findings() == {}


@pytest.mark.parametrize(
    ("made", "severity", "code"),
    [
        ("posts (id INT PRIMARY KEY) ENGINE=Aria", REFUSE, "engine"),
        ("posts (id INT)", REFUSE, "no_primary_key"),
        ("posts (id INT, UNIQUE (id))", REFUSE, "no_primary_key"),
        ("posts (k DOUBLE PRIMARY KEY)", REFUSE, "key_type"),
        ("posts (k TEXT, PRIMARY KEY (k(20)))", REFUSE, "key_type"),
        ("posts (k VARCHAR(9) CHARSET big5 COLLATE big5_bin PRIMARY KEY)", REFUSE, "key_type"),
        ("posts (k VARCHAR(9) CHARSET cp1251 COLLATE cp1251_bin PRIMARY KEY)", WARN, "key_charset"),
        ("posts (k VARCHAR(9) PRIMARY KEY)", NOTE, "key_collation"),
        ("posts (id INT PRIMARY KEY, `größe` INT)", REFUSE, "name"),
        ("posts (id INT PRIMARY KEY, password_hash CHAR(60), ApiKey INT)", WARN, "secret_columns"),
    ],
)
def test_a_table_that_is_otherwise_is_named(source: AtSource, made: str, severity: str, code: str) -> None:
    source.query(f"CREATE TABLE {made}")
    assert codes(source) == {code: severity}
    finding = source.findings()[code]
    assert finding.table == "posts" and "posts" in finding.message


def test_a_column_with_a_name_of_its_own_can_be_left_out(source: AtSource) -> None:
    source.query("CREATE TABLE posts (`die größe` INT, id INT PRIMARY KEY, n INT, KEY (n), KEY k (`die größe`, n))")
    assert codes(source) == {"name": REFUSE}
    source.settings = replace(source.settings, tables=(FollowedTable(name="posts", columns=("id", "n")),))
    assert codes(source) == {}
    table = source.facts().tables["posts"]
    assert table is not None
    schema = schema_of(table, ("id", "n"))
    assert schema.names == ("id", "n") and [index.columns for index in schema.indexes] == [("n",)]


def test_statements_mend_what_they_are_printed_for(source: AtSource) -> None:
    source.run(
        """CREATE TABLE parents (id INT PRIMARY KEY)
        CREATE TABLE posts (pid INT) ENGINE=Aria"""
    )
    assert set(codes(source)) == {"engine", "no_primary_key"}
    for finding in source.preflight().findings:
        if finding.severity == REFUSE:
            source.query(finding.statement)
    source.query("ALTER TABLE posts ADD FOREIGN KEY (pid) REFERENCES parents(id) ON DELETE CASCADE")
    assert set(codes(source)) == {"foreign_key"}
    source.query(source.findings()["foreign_key"].statement)
    assert codes(source) == {}


@pytest.mark.parametrize(
    ("rule", "refused"),
    [
        ("ON DELETE CASCADE", True),
        ("ON DELETE SET NULL", True),
        ("ON UPDATE CASCADE", True),
        ("ON DELETE RESTRICT ON UPDATE NO ACTION", False),
        ("", False),
    ],
)
def test_a_child_of_a_cascade_is_refused(source: AtSource, rule: str, refused: bool) -> None:
    source.run(
        f"""CREATE TABLE parents (id INT PRIMARY KEY)
        CREATE TABLE posts (id INT PRIMARY KEY, pid INT, FOREIGN KEY (pid) REFERENCES parents(id) {rule})"""
    )
    assert ("foreign_key" in codes(source)) == refused


def test_the_cascade_that_is_refused_would_really_go_unseen(source: AtSource) -> None:
    source.run("CREATE TABLE parents (id INT PRIMARY KEY)\nCREATE TABLE posts (id INT PRIMARY KEY, pid INT)")
    source.set_up()
    source.run(
        """ALTER TABLE posts ADD FOREIGN KEY (pid) REFERENCES parents(id) ON DELETE CASCADE
        INSERT INTO parents VALUES (1)
        INSERT INTO posts VALUES (1, 1)"""
    )
    source.noted()
    source.query("DELETE FROM parents")
    assert source.query("SELECT * FROM posts") == [] and source.noted() == []


def test_what_is_not_there_or_no_table_is_refused(source: AtSource) -> None:
    assert codes(source) == {"table_missing": REFUSE}
    source.run("CREATE TABLE t (id INT PRIMARY KEY)\nCREATE VIEW posts AS SELECT * FROM t")
    assert codes(source) == {"no_table": REFUSE}
    assert "view" in source.findings()["no_table"].message


def test_partitions_are_noted_and_warned_of_without_process(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2")
    assert codes(source) == {"partitions": NOTE}
    facts = replace(
        source.facts(),
        grants=grants_of(["GRANT SELECT, TRIGGER, INSERT, DELETE ON *.* TO x"]),
        account=Account("x", "%"),
    )
    found = {finding.code: finding for finding in examine(facts, source.settings).findings}
    assert found["partitions"].severity == WARN
    assert found["truncate_unseen"].statement == "GRANT PROCESS ON *.* TO 'x'@'%'"


def test_columns_and_filters_of_the_settings_are_tried(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY, deleted INT, token CHAR(9))")

    def with_table(**options: object) -> dict[str, str]:
        table = FollowedTable(name="posts", **options)  # type: ignore[arg-type]  # options of a table
        source.settings = replace(source.settings, tables=(table,))
        return codes(source)

    assert with_table(columns=("id", "deleted"), where="deleted = 0") == {}
    assert with_table(columns=("ID", "Deleted")) == {}
    assert with_table(columns=("id", "nope")) == {"columns": REFUSE}
    assert with_table(columns=("deleted",)) == {"columns": REFUSE}
    assert with_table(columns=("id",), where="delted = 0") == {"where": REFUSE}
    assert "delted" in source.findings()["where"].message
    assert with_table(columns=("id",), where="deleted = (") == {"where": REFUSE}
    assert with_table(columns=("id",), where="deleted = 0 -- of course") == {}


def test_sizes_come_from_a_sample_of_rows(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY, a VARCHAR(500), b BLOB, KEY (a))")
    source.query("INSERT INTO posts SELECT seq, REPEAT('x', 200), NULL FROM seq_1_to_3000")
    source.query("ANALYZE TABLE posts")
    [size] = source.preflight().sizes
    assert 2_500 <= size.rows <= 3_500
    # 200 letters, a number, NULL, 9 of JSON, 116 a row, 22 an index
    assert 300 <= size.bytes_here / size.rows <= 400
    source.settings = replace(source.settings, tables=(FollowedTable(name="posts", columns=("id",)),))
    [size] = source.preflight().sizes
    assert 100 <= size.bytes_here / size.rows <= 140


def test_tables_that_take_more_than_the_memory_are_warned_of(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY, a CHAR(200) DEFAULT (REPEAT('x', 200)))")
    source.query("INSERT INTO posts (id) SELECT seq FROM seq_1_to_9000")
    source.query("ANALYZE TABLE posts")
    facts = source.facts()
    assert "memory" not in {finding.code for finding in examine(facts, source.settings, 2**30).findings}
    warned = {finding.code: finding for finding in examine(facts, source.settings, 2**20).findings}
    assert warned["memory"].severity == WARN and "more than 1 MiB" in warned["memory"].message


def test_triggers_whose_account_has_gone_are_found_before_a_write_fails(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY)")
    source.set_up()
    source.query("CREATE USER leaver@localhost")
    [(name, body)] = source.query(
        "SELECT TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS"
        " WHERE TRIGGER_SCHEMA = DATABASE() AND EVENT_MANIPULATION = 'INSERT'"
    )
    source.query(f"CREATE OR REPLACE DEFINER=leaver@localhost TRIGGER {name} AFTER INSERT ON posts FOR EACH ROW {body}")
    assert source.findings() == {}
    source.query("DROP USER leaver@localhost")
    with pytest.raises(SourceFault, match="definer"):
        source.query("INSERT INTO posts VALUES (1)")
    found = source.findings()["definer"]
    assert found.severity == REFUSE and "leaver@localhost" in found.message and name in found.message
    [statement] = source.set_up()
    assert name in statement and source.findings() == {}
    source.query("INSERT INTO posts VALUES (1)")


def test_an_outbox_that_nothing_fills_is_noted(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY)")
    source.set_up()
    source.settings = replace(source.settings, mode="push", push_token="words")
    found = source.findings()
    assert set(found) == {"push_best_effort", "function", "triggers"}, "without its outbox a trigger fails every write"
    for trigger in source.facts().own_triggers:
        source.query(f"DROP TRIGGER {trigger.name}")
    source.settings = replace(source.settings, mode="binlog", push_token="")
    assert source.findings()["outbox_unused"].statement == "DROP TABLE `tcsql_outbox`"


def test_triggers_that_the_server_may_follow_by_are_left_by_a_setup_for_the_binary_log(source: AtSource) -> None:
    source.query("CREATE TABLE posts (id INT PRIMARY KEY)")
    source.set_up()
    source.settings = replace(source.settings, mode="binlog")
    logs = {"log_bin": "ON", "binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_row_metadata": "FULL"}
    facts = replace(source.facts(), variables={**source.facts().variables, **logs})
    assert not [statement for statement in plan_setup(facts, source.settings) if "TRIGGER" in statement.sql]
    found = {finding.code: finding for finding in examine(facts, source.settings).findings}
    assert "tcsql mysql remove" in found["triggers_unused"].message and "outbox_unused" not in found


# -- the account ------------------------------------------------------------------------------------------


def test_each_right_that_is_missing_is_named_with_its_grant(source: AtSource) -> None:
    source.run("CREATE TABLE posts (id INT PRIMARY KEY, secret INT)\nCREATE USER reader@localhost")
    try:
        source.settings = replace(source.settings, tables=(FollowedTable(name="posts", columns=("id",)),))

        def lacking() -> list[str]:
            findings = examine(source.facts(user="reader"), source.settings).findings
            return [finding.statement for finding in findings if finding.code == "grant_missing"]

        database = source.database
        on_posts = f"GRANT SELECT, TRIGGER ON `{database}`.`posts` TO 'reader'@'localhost'"
        on_outbox = f"GRANT SELECT, INSERT, DELETE ON `{database}`.`tcsql_outbox` TO 'reader'@'localhost'"
        assert lacking() == [on_posts, on_outbox]
        source.query(f"GRANT SELECT (id), TRIGGER ON {database}.posts TO reader@localhost")
        assert lacking() == [on_outbox], "rights on the columns that are kept are enough"
        source.run(f"CREATE TABLE tcsql_outbox (seq INT)\n{on_outbox}")
        assert lacking() == []
        source.run(f"REVOKE ALL, GRANT OPTION FROM reader@localhost\nGRANT ALL ON `{database}`.* TO reader@localhost")
        assert lacking() == []
        assert source.facts(user="reader").account == Account("reader", "localhost")
        assert source.facts(user="nobody").account is None
    finally:
        source.query("DROP USER reader@localhost")


# -- the server, as facts --------------------------------------------------------------------------------

FACTS = Facts(
    flavour="mariadb",
    version="10.11.6-MariaDB",
    database="shop",
    variables={"log_bin": "ON", "log_bin_trust_function_creators": "OFF", "read_only": "OFF"},
    account=Account("me", "%"),
    grants=grants_of(["GRANT ALL PRIVILEGES ON *.* TO me"]),
    admin=grants_of(["GRANT ALL PRIVILEGES ON *.* TO me"]),
    tables={},
    outbox=None,
    own_triggers=(),
    functions={},
)
SETTINGS = SourceSettings(name="shop", url="mysql://me@h/shop", tables=())
TRIGGERS_ONLY = grants_of(["GRANT TRIGGER, PROCESS, SELECT, INSERT, DELETE ON *.* TO me"])


def found_in(facts: Facts, settings: SourceSettings = SETTINGS) -> dict[str, str]:
    found = {finding.code: finding.severity for finding in examine(facts, settings).findings}
    found.pop("not_set_up", None)
    return found


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, {}),
        ({"version": "10.2.44-MariaDB"}, {"version_old": REFUSE}),
        ({"version": "11.4.2-MariaDB"}, {"version_untested": NOTE}),
        ({"flavour": "mysql", "version": "5.6.51"}, {"version_old": REFUSE}),
        ({"flavour": "mysql", "version": "8.0.36"}, {"version_untested": NOTE}),
        ({"flavour": "mysql", "version": "9.7.4"}, {}),
        ({"variables": {"read_only": "ON"}}, {"read_only": WARN}),
        ({"variables": {"innodb_read_only": "ON"}}, {"read_only": REFUSE}),
        ({"is_replica": True}, {"replica": REFUSE}),
        ({"is_replica": True, "variables": {"slave_run_triggers_for_rbr": "YES"}}, {}),
        ({"is_replica": None}, {}),
        ({"admin": TRIGGERS_ONLY}, {"trigger_creators": WARN}),
        ({"account": None}, {"account_unknown": NOTE}),
        ({"grants": None}, {"grants_unknown": NOTE}),
    ],
)
def test_servers_and_accounts(changed: dict[str, object], expected: dict[str, str]) -> None:
    assert found_in(replace(FACTS, **changed)) == expected  # type: ignore[arg-type]  # fields of Facts


def test_functions_are_needed_for_push_and_for_the_doorbell() -> None:
    push = replace(SETTINGS, mode="push", push_token="words", audit_s=0)
    rings = replace(SETTINGS, doorbell="/run/tcsql/bell")
    assert found_in(FACTS, push) == {"function": REFUSE, "push_best_effort": NOTE}
    assert found_in(FACTS, rings) == {"function": REFUSE}
    assert found_in(replace(FACTS, functions=None), rings) == {"function_unknown": NOTE}
    assert found_in(replace(FACTS, functions={"tcsql_doorbell": "tcsql_udf_1.0.so"}), rings) == {}
    assert found_in(replace(FACTS, functions={"tcsql_push": "tcsql_udf_0.9.so"}), push) == {
        "push_best_effort": NOTE,
        "function_other": NOTE,
    }


def test_the_first_refusal_is_raised_with_its_statement() -> None:
    require_followable(FACTS, SETTINGS)
    with pytest.raises(SourceFault, match="replica") as caught:
        require_followable(replace(FACTS, is_replica=True), SETTINGS)
    assert caught.value.hint == "SET GLOBAL slave_run_triggers_for_rbr = 'YES'"
    require_followable(replace(FACTS, is_replica=True), SETTINGS, ("replica",))


def test_versions_are_numbers() -> None:
    assert version_of("5.7.44-log") == (5, 7, 44)
    assert version_of("11.4.2-MariaDB-ubu2404") == (11, 4, 2)
