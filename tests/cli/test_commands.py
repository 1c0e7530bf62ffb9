"""Commands as people type them: tables, JSON, CSV, plans, and one line with an exit code for everything wrong."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tcsql import __version__
from tcsql.settings import OPTIONS
from tcsql.storage.store import Store
from tests.cli.conftest import Run
from tests.http.serving import Running, finished


@pytest.fixture(params=["url", "data"])
def source(request: pytest.FixtureRequest) -> list[str]:
    """Where a read comes from: a running server, or a closed store."""
    if request.param == "url":
        return ["--url", request.getfixturevalue("server").url]
    return ["--data", str(request.getfixturevalue("store"))]


def test_a_query_prints_an_aligned_table_with_the_total(run: Run, source: list[str]) -> None:
    code, out, err = run("query", "where=hits:NUMGE:1&order_by=hits&type=id,title,hits&limit_max=2", *source)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len({len(line) for line in lines[:-1]}) == 1
    assert [cell.strip() for cell in lines[1].strip("┃").split("┃")] == ["id", "title", "hits"]
    assert [cell.strip() for cell in lines[3].strip("│").split("│")] == ["1", "plain", "5"]
    assert re.fullmatch(r"2 of 3 rows; next page: after=\S+", lines[-1])


def test_values_cannot_steer_the_terminal_and_null_is_shown(run: Run, source: list[str]) -> None:
    code, out, _ = run("query", "", *source)
    assert code == 0
    assert "\x1b" not in out
    assert r"\x1b[31mred\nline" in out
    assert "NULL" in out
    assert "18446744073709551615" in out
    assert out.splitlines()[-1] == "4 of 4 rows"


def test_json_is_the_reply_itself(run: Run, source: list[str]) -> None:
    _, out, _ = run("query", 'type=title&where=title:STRINC:zwölf, "', "--json", *source)
    assert json.loads(out) == {"total": 1, "next": None, "prev": None, "rows": [{"title": 'zwölf, "quoted"'}]}


def test_csv_can_be_read_back(run: Run, source: list[str]) -> None:
    _, out, _ = run("query", "order_by=id", "--csv", *source)
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["id", "title", "hits"]
    assert rows[2] == ["2", 'zwölf, "quoted"', "18446744073709551615"]
    assert rows[3] == ["3", "", ""]
    assert rows[4] == ["4", "\x1b[31mred\nline", "5"]


def test_counts_groups_and_nothing(run: Run, source: list[str]) -> None:
    assert "4" in run("query", "type=count", *source)[1]
    _, out, _ = run("query", "type=count,max(id)&group_by=hits&order_by=count&order_sort=NUMDESC", *source)
    assert out.splitlines()[-1] == "3 of 3 rows"
    assert run("query", "where=id:NUMEQ:99", *source)[1] == "0 of 0 rows\n"


def test_the_table_can_be_named(run: Run, source: list[str]) -> None:
    assert run("query", "type=count", "--table", "posts", *source)[0] == 0
    code, out, err = run("query", "type=count", "-t", "psts", *source)
    assert (code, out) == (1, "")
    assert err == 'tcsql: there is no table "psts" (did you mean "posts"?)\n'


@pytest.mark.parametrize(
    "query", ["where=titel:STREQ:x", "where=title:streq:x", "limit_max=1_0", "order=id", "where=%zz"]
)
def test_a_refused_query_is_one_line_and_exit_1(run: Run, source: list[str], query: str) -> None:
    code, out, err = run("query", query, *source)
    assert (code, out) == (1, "")
    assert err.startswith("tcsql: ")
    assert err.count("\n") == 1


def test_writes_are_not_for_query(run: Run, source: list[str]) -> None:
    code, _, err = run("query", "command=delete&all=1", *source)
    assert code == 1
    assert err.startswith("tcsql: ")


def test_explain_prints_a_plan(run: Run, source: list[str]) -> None:
    code, out, _ = run("explain", "where=hits:NUMEQ:5&where=title:STRINC:x", *source)
    assert code == 0
    assert out.startswith("posts: 4 rows, ")
    assert re.search(r"chosen +│ hits \(hits\)", out)
    assert "title:STRINC:x" in out
    _, out, _ = run("explain", "where=hits:NUMEQ:5", "--json", *source)
    assert json.loads(out)["chosen"][0]["index"] == "hits"


def test_no_server_is_exit_2(run: Run) -> None:
    for url, says in (("http://127.0.0.1:1", "no server answers at"), ("ftp://x", "is not the address of a server")):
        for command in (["query", ""], ["explain", ""], ["backup", "file"]):
            code, out, err = run(*command, "--url", url)
            assert (code, out) == (2, "")
            assert says in err
            assert err.count("\n") == 1


def test_https_where_there_is_no_tls_says_so(run: Run, server: Running) -> None:
    code, _, err = run("query", "", "--url", server.url.replace("http://", "https://"))
    assert code == 2
    assert "no TLS there" in err
    assert "http://" in err


def test_a_directory_in_use_cannot_be_read_as_closed(run: Run, tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "busy")):
        code, _, err = run("query", "", "--data", str(tmp_path / "busy"))
    assert code == 2
    assert err.count("\n") == 1


def test_a_backup_is_checked_and_served(run: Run, server: Running, tmp_path: Path) -> None:
    file = tmp_path / "restored" / "tcsql.db"
    file.parent.mkdir()
    code, out, _ = run("backup", str(file), "--url", server.url)
    assert (code, out) == (0, f"{file}: {file.stat().st_size} bytes\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("check", str(file.parent)) == (0, f"{file.parent}: sound\n", "")
    assert run("query", "type=count", "--data", str(file.parent), "--json")[1] == '{"count":4}\n'
    code, _, err = run("backup", str(file), "--url", server.url)
    assert (code, err) == (2, f"tcsql: {file} exists already (replace it with --force)\n")
    assert run("backup", str(file), "--url", server.url, "--force")[0] == 0
    assert run("backup", str(tmp_path / "no" / "where"), "--url", server.url)[0] == 2
    assert not list(file.parent.glob("*.partial"))


def test_check_finds_damage(run: Run, store: Path, tmp_path: Path) -> None:
    assert run("check", str(store)) == (0, f"{store}: sound\n", "")
    damaged = Path(shutil.copytree(store, tmp_path / "damaged"))
    connection = sqlite3.connect(damaged / "tcsql.db")
    [(name,)] = connection.execute(
        "SELECT name FROM sqlite_master WHERE name LIKE '%rows%' AND type = 'table'"
    ).fetchall()
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
    connection.execute(f"UPDATE {name} SET {columns[-1]} = '{{\"id\":' WHERE rowid = (SELECT min(rowid) FROM {name})")
    connection.commit()
    connection.close()
    code, out, err = run("check", str(damaged))
    assert code == 3
    assert out
    assert err.startswith("tcsql: ")
    assert run("check", str(tmp_path / "nothing"))[0] == 2


def test_config_shows_every_option_with_its_source_and_reason(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tcsql.toml").write_text("[limits]\nmax_rows = 7\n")
    monkeypatch.setenv("TCSQL_BACKLOG", "9")
    code, out, _ = run("config", "--port", "1", "--json")
    assert code == 0
    shown = {option["name"]: option for option in json.loads(out)}
    assert set(shown) == set(OPTIONS)
    assert all(option["reason"] for option in shown.values())
    assert [(shown[name]["value"], shown[name]["source"]) for name in ("port", "backlog", "max_rows", "host")] == [
        (1, "--port"),
        (9, "TCSQL_BACKLOG"),
        (7, "tcsql.toml"),
        ("127.0.0.1", "default"),
    ]
    code, out, _ = run("config")
    assert code == 0
    assert all(name in out for name in OPTIONS)
    assert "[limits]" in out


def test_config_files_are_named_by_flag_or_variable(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[server]\nport = 5\n")
    assert '"value": 5' in run("config", "--config", str(other), "--json")[1]
    monkeypatch.setenv("TCSQL_CONFIG", str(other))
    assert '"value": 5' in run("config", "--json")[1]
    assert run("config", "--config", "missing.toml")[0] == 2
    other.write_bytes(b"\xff")
    assert run("config")[0] == 2
    other.write_text("[server]\nprot = 5\n")
    code, _, err = run("config")
    assert code == 2
    assert 'did you mean "port"?' in err


def test_version(run: Run) -> None:
    assert run("version") == (0, f"tcsql {__version__}\n", "")
    assert run("--version") == (0, f"tcsql {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [["srve"], ["serve", "--prot", "1"], ["query", "a", "b"], ["backup"], ["check"], ["serve", "--port"], ["--nope"]],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("tcsql: ")
    assert err.count("\n") == 1


def test_wrong_settings_are_one_line_and_exit_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("serve", "--port", "99999")[0] == 2
    monkeypatch.setenv("TCSQL_PROT", "1")
    code, _, err = run("serve")
    assert code == 2
    assert "TCSQL_PORT" in err


def test_help_names_every_command_setting_and_exit_code(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name in ("serve", "query", "explain", "check", "backup", "config", "demo", "version", "load", "dump"):
        assert re.search(rf"^\W+{name} ", out, re.MULTILINE), name
    code, out, _ = run("serve", "--help")
    assert code == 0
    assert all("--" + name.replace("_", "-") in out for name in OPTIONS)
    assert "Exit codes" in out


def test_a_closed_pipe_ends_quietly(store: Path, tmp_path: Path) -> None:
    found = finished("query", "", "--data", str(store), cwd=tmp_path)
    assert found.returncode == 0
    assert found.stderr == ""
