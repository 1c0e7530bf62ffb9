"""``tcsql mysql setup``, ``check`` and ``remove`` as an administrator types them, against a real MariaDB."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tcsql.cli import main
from tcsql.replication.provision import count_calls
from tcsql.replication.triggers import LIBRARY
from tests.http.serving import without_settings
from tests.mariadb import MariaDB
from tests.replication.at_source import PASSWORD
from tests.udf.library import make

Run = Callable[..., tuple[int, str, str]]
_NEXT = count(1)

TABLES = (
    "CREATE TABLE posts (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, title VARCHAR(80), KEY (title))",
    "CREATE TABLE users (name VARCHAR(20) COLLATE utf8mb4_bin, lang ENUM('a','b'), PRIMARY KEY (lang, name))",
)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin directory, empty at first."""
    return tmp_path_factory.mktemp("plugins")


@pytest.fixture(scope="module")
def server(plugins: Path) -> Iterator[MariaDB]:
    with MariaDB(f"--plugin-dir={plugins}", "--log-bin=binlog") as running:
        yield running


class Shop:
    """A database, an account for the follower without any right, and a configuration."""

    def __init__(self, server: MariaDB, database: str, connection: pymysql.connections.Connection[Any]) -> None:
        self.server = server
        self.database = database
        self.connection = connection
        self.admin = ("--admin-url", f"mysql://root@localhost/?unix_socket={server.socket}")
        for sql in TABLES:
            self.query(sql)
        self.query(f"CREATE USER {database}@localhost IDENTIFIED BY %s", PASSWORD)
        Path("shop.password").write_text(PASSWORD + "\n")
        self.configure()

    def configure(self, user: str | None = None, tables: tuple[str, ...] = ("posts", "users"), extra: str = "") -> None:
        url = f"mysql://{user or self.database}@localhost/{self.database}?unix_socket={self.server.socket}"
        lines = ["[source.shop]", f"url = {json.dumps(url)}", f"tables = {json.dumps(tables)}"]
        lines += ['password_file = "shop.password"', extra]
        Path("tcsql.toml").write_text("\n".join(lines) + "\n")

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return list(cursor.fetchall())

    def triggers(self) -> list[str]:
        return [str(row[0]) for row in self.query("SHOW TRIGGERS")]

    def left(self) -> list[str]:
        """All objects of the database but its two tables, and registered functions."""
        tables = [str(row[0]) for row in self.query("SHOW TABLES")]
        functions = [str(row[0]) for row in self.query("SELECT name FROM mysql.func")]
        return sorted({*tables} - {"posts", "users"}) + self.triggers() + functions


@pytest.fixture
def shop(server: MariaDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.chdir(tmp_path)
    name = f"shop{next(_NEXT)}"
    with server.database(name) as connection:
        try:
            yield Shop(server, name, connection)
        finally:
            connection.cursor().execute(f"DROP USER IF EXISTS {name}@localhost")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command: exit code, standard output, standard error. No password is ever printed."""

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with without_settings():
            code = main(["mysql", *arguments])
        out, err = capsys.readouterr()
        assert PASSWORD not in out + err
        return code, out, err

    return command


def test_setup_makes_everything_once_and_remove_leaves_nothing(shop: Shop, run: Run) -> None:
    code, out, _ = run("setup", "--apply", *shop.admin)
    assert code == 0 and out.count("CREATE TRIGGER") == 6 and out.count("GRANT ") == 4
    assert len(shop.triggers()) == 6
    code, out, _ = run("setup", "--apply", *shop.admin)
    assert code == 0 and "set up already" in out and "CREATE" not in out
    # with the account of the source itself, which has its rights now
    code, out, err = run("setup")
    assert (code, out, err) == (0, f"-- source shop: {shop.database}, mode outbox: set up already\n", "")
    assert run("check")[0] == 0

    code, out, _ = run("remove", *shop.admin)
    assert code == 0 and len(shop.triggers()) == 6, "nothing is done without --apply"
    code, out, _ = run("remove", "--apply", *shop.admin)
    assert code == 0 and shop.left() == []
    assert f"DROP USER '{shop.database}'@'localhost'" in out
    code, out, _ = run("remove", "--apply", *shop.admin)
    assert code == 0 and "nothing is left" in out


def test_what_is_printed_runs_in_the_client(shop: Shop, run: Run) -> None:
    code, script, err = run("setup", *shop.admin)
    assert (code, err) == (0, "") and shop.left() == []
    shop.server.load("mysql", script.encode())
    assert len(shop.triggers()) == 6
    assert "set up already" in run("setup", *shop.admin)[1]
    shop.query("INSERT INTO users VALUES ('it''s', 'b')")
    shop.query("UPDATE users SET lang = 'a'")
    assert shop.query("SELECT tab, op, pk FROM tcsql_outbox ORDER BY seq") == [
        ("users", "I", "2,69742773"),
        ("users", "U", "1,69742773"),
        ("users", "U", "2,69742773"),
    ]
    shop.server.load("mysql", run("remove", *shop.admin)[1].encode())
    assert shop.left() == []


def test_lost_changed_and_foreign_triggers_are_put_right(shop: Shop, run: Run) -> None:
    run("setup", "--apply", *shop.admin)
    [first, second, *_] = shop.triggers()
    shop.query(f"DROP TRIGGER {first}")
    [(event,)] = shop.query(
        "SELECT EVENT_MANIPULATION FROM information_schema.TRIGGERS WHERE TRIGGER_NAME=%s AND TRIGGER_SCHEMA=%s",
        *(second, shop.database),
    )
    [(table,)] = shop.query(
        "SELECT EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_NAME=%s AND TRIGGER_SCHEMA=%s",
        *(second, shop.database),
    )
    shop.query(f"CREATE OR REPLACE TRIGGER {second} AFTER {event} ON {table} FOR EACH ROW SET @x = 1")
    shop.query("CREATE TRIGGER of_the_application BEFORE INSERT ON posts FOR EACH ROW SET NEW.title = 'x'")
    code, out, _ = run("check")
    assert code == 1
    assert f"{first} is missing" in out and f"{second} is changed" in out and "setup shop --apply" in out
    code, out, _ = run("setup", "--apply", *shop.admin)
    assert code == 0 and out.count("CREATE") == 2 and "OR REPLACE" in out
    assert run("check")[0] == 0
    run("remove", "--apply", *shop.admin)
    assert shop.triggers() == ["of_the_application"]


def test_triggers_of_tables_that_are_left_out_or_renamed_go(shop: Shop, run: Run) -> None:
    run("setup", "--apply", *shop.admin)
    shop.configure(tables=("posts",))
    code, out, _ = run("setup", "--apply", *shop.admin)
    assert code == 0 and out.count("DROP TRIGGER") == 3 and len(shop.triggers()) == 3
    shop.query("RENAME TABLE posts TO old_posts")
    shop.query("CREATE TABLE posts LIKE old_posts")
    code, out, _ = run("check")
    assert code == 1 and out.count("is missing") == 3
    code, out, _ = run("setup", "--apply", *shop.admin)
    assert code == 0 and len(shop.triggers()) == 3
    shop.query("INSERT INTO old_posts VALUES (5, 'x')")
    shop.query("INSERT INTO posts VALUES (6, 'x')")
    assert shop.query("SELECT tab, pk FROM tcsql_outbox") == [("posts", "6")]
    shop.query("DROP TABLE old_posts")


def test_a_table_that_cannot_be_followed_stops_setup_before_anything_is_made(shop: Shop, run: Run) -> None:
    shop.query("CREATE TABLE bare (n INT)")
    shop.configure(tables=("posts", "bare"))
    code, out, err = run("setup", "--apply", *shop.admin)
    assert code == 2 and "no primary key" in err and "ADD COLUMN id" in err and len(err.splitlines()) == 1
    assert [left for left in shop.left() if left != "bare"] == []
    code, out, _ = run("check", *shop.admin)
    assert code == 1 and "refuse no_primary_key" in out


def test_check_is_readable_and_machine_readable(shop: Shop, run: Run) -> None:
    code, out, _ = run("check", "--json", *shop.admin)
    report = json.loads(out)["shop"]
    assert code == 1 and report["refused"] is True
    assert {finding["code"] for finding in report["findings"]} == {"grant_missing", "not_set_up", "truncate_unseen"}
    assert [size["table"] for size in report["sizes"]] == ["posts", "users"]
    code, out, _ = run("check", *shop.admin)
    assert code == 1
    assert f"run there: GRANT SELECT, TRIGGER ON `{shop.database}`.`posts`" in out
    assert "MiB here" in out


def test_a_right_to_see_truncate_is_given_when_asked_for(shop: Shop, run: Run) -> None:
    run("setup", "--apply", *shop.admin)
    assert "truncate_unseen" in run("check")[1]
    code, out, _ = run("setup", "--apply", "--grant-process", *shop.admin)
    assert code == 0 and "GRANT PROCESS ON *.*" in out
    assert "truncate_unseen" not in run("check")[1]
    assert "set up already" in run("setup", "--apply", "--grant-process", *shop.admin)[1]


# -- what goes wrong ------------------------------------------------------------------------------------------


def test_a_wrong_password_is_one_line_with_the_way_out(shop: Shop, run: Run) -> None:
    Path("shop.password").write_text("wrong\n")
    code, _, err = run("check")
    assert code == 2 and len(err.splitlines()) == 1
    assert "Access denied" in err and "password_file" in err
    Path("shop.password").unlink()
    code, _, err = run("check")
    assert code == 2 and "shop.password" in err


def test_an_account_that_may_not_is_told_which_statement_and_how(shop: Shop, run: Run) -> None:
    code, _, err = run("setup", "--apply")
    assert code == 2 and "tcsql mysql setup --admin-url" in err and len(err.splitlines()) == 1
    shop.query(f"GRANT ALL ON {shop.database}.* TO {shop.database}@localhost")
    code, _, err = run("setup", "--apply")
    assert code == 2 and "log_bin_trust_function_creators" in err and "--admin-url" in err
    assert "warn   trigger_creators" in run("check")[1] or "refuse triggers" in run("check")[1]
    shop.query("SET GLOBAL log_bin_trust_function_creators = 1")
    try:
        code, _, err = run("setup", "--apply")
        assert (code, err) == (0, "") and len(shop.triggers()) == 6
    finally:
        shop.query("SET GLOBAL log_bin_trust_function_creators = 0")


def test_an_account_that_is_not_there_is_told_of_with_its_statement(shop: Shop, run: Run) -> None:
    shop.configure(user="nobody")
    code, out, _ = run("setup", *shop.admin)
    assert code == 0 and "-- CREATE USER 'nobody'@'%' IDENTIFIED BY" in out
    out = run("check", *shop.admin)[1]
    assert "account_unknown" in out
    assert "refuse kept_out: the account of the url cannot sign in: " in out


def test_rights_go_to_the_account_that_the_server_takes_it_for(shop: Shop, run: Run) -> None:
    other = f"'{shop.database}'@'%'"
    shop.query(f"CREATE USER {other} IDENTIFIED BY 'another'")
    shop.query(f"CREATE USER boss_{shop.database}@localhost")
    shop.query(f"GRANT ALL ON {shop.database}.* TO boss_{shop.database}@localhost WITH GRANT OPTION")
    boss = f"mysql://boss_{shop.database}@localhost/{shop.database}?unix_socket={shop.server.socket}"
    try:
        for admin in (shop.admin, ("--admin-url", boss)):  # the second sees no accounts
            _, out, _ = run("setup", *admin)
            assert out.count(f"TO '{shop.database}'@'localhost';") == 3
            assert "@'%'" not in out
        Path("shop.password").write_text("wrong\n")
        code, out, _ = run("check", *shop.admin)
        assert code == 1 and "cannot sign in: the source answers: Access denied" in out
    finally:
        shop.query(f"DROP USER {other}, boss_{shop.database}@localhost")


def test_a_table_that_is_not_there_is_told_of_once(shop: Shop, run: Run) -> None:
    shop.configure(tables=("posts", "user"))
    code, out, _ = run("check", *shop.admin)
    assert code == 1
    assert [line for line in out.splitlines() if "user " in line or "`user`" in line] == [
        f"refuse table_missing: there is no table user in {shop.database}"
    ]


def test_an_open_writer_is_named_when_triggers_wait_for_it(shop: Shop, run: Run) -> None:
    with shop.server.connect(shop.database, autocommit=False) as writer:
        writer.cursor().execute("INSERT INTO posts (title) VALUES ('open')")
        code, _, err = run("setup", "--apply", "--lock-wait", "1", *shop.admin)
        assert code == 2
        [(number,)] = shop.query("SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX")
        assert f"connection {number} of root@" in err and f"KILL {number}" in err
        writer.rollback()
    assert run("setup", "--apply", *shop.admin)[0] == 0
    assert len(shop.triggers()) == 6


def test_setup_waits_for_a_writer_that_ends_in_time(shop: Shop, run: Run) -> None:
    writer = shop.server.connect(shop.database, autocommit=False)
    writer.cursor().execute("INSERT INTO posts (title) VALUES ('brief')")
    timer = threading.Timer(0.4, writer.commit)
    timer.start()
    try:
        assert run("setup", "--apply", "--lock-wait", "10", *shop.admin)[0] == 0
    finally:
        timer.join()
        writer.close()


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("", "has no source"),
        ('[source.shop]\nurl="mysql://a@127.0.0.1:1"\ntables=["t"]', "names no database"),
        ('[source.shop]\nurl="mysql://a@h:33x/d"\ntables=["t"]', "source shop: the url of the source cannot be read"),
        ('[source.shop]\nurl="mysql://a@h/d?tsl=on"\ntables=["t"]', "unknown parameter tsl"),
        ('[source.shop]\nurl="mysql://a@127.0.0.1:1/d"\ntables=["t"]', "127.0.0.1:1 does not answer"),
        ('[source.shop]\nurl="mysql://a@h/d"\ntabels=["t"]', "unknown key"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, run: Run, toml: str, told: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(toml)
    code, _, err = run("check", "--config", str(file))
    assert code == 2 and told in err and len(err.splitlines()) == 1


def test_serve_refuses_a_url_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[source.shop]\nurl="mysql://a@h/d?tls=verfiy"\ntables=["t"]')
    with without_settings():
        assert main(["serve", "--config", str(file), "--data", str(tmp_path / "data")]) == 2
    assert "source shop: the url of the source has tls=verfiy (off, on or verify)" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_source_is_chosen_by_name(shop: Shop, run: Run) -> None:
    code, _, err = run("check", "shpo")
    assert code == 2 and 'did you mean "shop"?' in err
    code, out, _ = run("setup", "shop", *shop.admin)
    assert code == 0 and "-- source shop:" in out


def test_passwords_for_the_administrator_come_from_a_file(shop: Shop, run: Run) -> None:
    shop.query(f"CREATE USER boss_{shop.database}@localhost IDENTIFIED BY %s", PASSWORD)
    shop.query(f"GRANT ALL ON *.* TO boss_{shop.database}@localhost WITH GRANT OPTION")
    url = f"mysql://boss_{shop.database}@localhost/?unix_socket={shop.server.socket}"
    try:
        assert run("setup", "--admin-url", url)[0] == 2
        code, _, err = run("setup", "--apply", "--admin-url", url, "--admin-password-file", "shop.password")
        assert (code, err) == (0, "") and len(shop.triggers()) == 6
    finally:
        shop.query(f"DROP USER boss_{shop.database}@localhost")


# -- functions ------------------------------------------------------------------------------------------


def test_functions_are_registered_when_needed_and_dropped_with_their_last_caller(
    shop: Shop, run: Run, plugins: Path, tmp_path: Path
) -> None:
    shop.configure(extra='doorbell = "/run/tcsql/bell"')
    code, _, err = run("setup", "--apply", *shop.admin)
    assert code == 2 and LIBRARY in err and "mysql_udf_sync" in err
    done = make(f"BUILD={tmp_path / 'build'}", f"CONF={tmp_path / 'push.conf'}")
    assert done.returncode == 0, done.stderr
    shutil.copy(tmp_path / "build" / LIBRARY, plugins / LIBRARY)

    code, out, err = run("setup", "--apply", *shop.admin)
    assert (code, err) == (0, "") and "CREATE FUNCTION tcsql_doorbell" in out
    shop.query("INSERT INTO posts (title) VALUES ('rings')")
    shop.configure(extra='mode = "push"\npush_token = "words"')
    code, out, err = run("setup", "--apply", *shop.admin)
    assert (code, err) == (0, "") and "CREATE FUNCTION tcsql_push" in out and out.count("OR REPLACE") == 6
    shop.query("INSERT INTO posts (title) VALUES ('pushed')")
    assert shop.query("SELECT COUNT(*) FROM tcsql_outbox") == [(1,)]
    assert "set up already" in run("setup", "--apply", *shop.admin)[1]

    # somebody else calls one of them
    shop.query("CREATE TABLE other (id INT)")
    shop.query("CREATE TRIGGER rings AFTER INSERT ON other FOR EACH ROW DO TCSQL_DOORBELL()")
    code, out, err = run("remove", "--apply", *shop.admin)
    assert (code, err) == (0, "") and "DROP FUNCTION tcsql_push" in out
    assert shop.left() == ["other", "rings", "tcsql_doorbell"]
    shop.query("DROP TRIGGER rings")
    run("remove", "--apply", *shop.admin)
    assert shop.left() == ["other"]


def test_calls_of_others_are_counted() -> None:
    bodies = [("d.mine", "DO tcsql_push('a','I',1)"), ("d.x", "SET @a = tcsql_push('a','I',1)"), ("d.y", "SET @a=1")]
    assert count_calls(bodies, ["d.mine"]) == {"tcsql_push": 1, "tcsql_doorbell": 0}


def test_a_push_source_without_a_token_gets_rights_and_no_triggers(shop: Shop, run: Run) -> None:
    shop.query("CREATE TRIGGER posted AFTER INSERT ON posts FOR EACH ROW SET @posted = NEW.id")
    shop.configure(extra='mode = "push"')
    code, out, err = run("setup", "shop", "--apply", *shop.admin)
    assert code == 0, err
    assert "GRANT" in out
    assert shop.triggers() == ["posted"]
    code, out, err = run("check", "shop", *shop.admin)
    assert code == 0, (out, err)
    assert "by_hand" in out
