"""What stands in the audit log after requests, in both lanes: who, what, which table, how many rows; never a value."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import LANES
from tests.http.serving import finished, serving, wait_for

COLUMNS = "(id INT PRIMARY KEY AUTO_INCREMENT, title VARCHAR(80))"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return LANES[request.param]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def done(path: Path) -> Iterator[tuple[str, Any, Any, int]]:
    for line in lines(path):
        if line["caller"] != "server":
            yield line["operation"], line.get("table"), line.get("rows"), line["status"]


def test_what_admins_do_is_written_down_and_ordinary_writes_are_not(
    tmp_path: Path, log: Path, lane: tuple[str, ...]
) -> None:
    with serving(tmp_path / "data", "--audit-log", str(log), *lane) as server:
        server.sql(f"CREATE TABLE t {COLUMNS}; CREATE INDEX by_title ON t (title)")
        server.post("command=insert&table=t", [{"title": "SECRET"}])
        server.post("command=insert&table=t&trusted=1", [{"id": 5, "title": "SECRET"}, {"id": 6, "title": "SECRET"}])
        server.post("command=delete&table=t&where=title:STREQ:SECRET|id:NUMEQ:6")
        server.rows("where=title:STREQ:SECRET")
        assert server.post("command=sql", {"sql": "DROP TABLE nothing"}).status_code == 404
        assert server.client.get(server.url + "/backup").status_code == 200
        assert server.client.post(server.url + "/sources/shop?action=verify").status_code == 404
        assert server.stop() == 0
        assert "SECRET" not in server.stderr()
    assert list(done(log)) == [
        ("sql", None, 0, 200),
        ("trusted", "t", 2, 200),
        ("sql", None, None, 404),
        ("backup", None, None, 200),
        ("source", None, None, 404),
    ]
    found = lines(log)
    [created] = [line for line in found if line["operation"] == "sql" and line["status"] == 200]
    assert created["did"] == ["create table t", "create index t.by_title"]
    assert created["lsn"] > 0
    assert (created["caller"], created["address"]) == ("local", "127.0.0.1")
    assert [line["operation"] for line in found if line["caller"] == "server"] == ["start", "stop"]
    assert "SECRET" not in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_every_write_is_written_down_when_asked_for(tmp_path: Path, log: Path, lane: tuple[str, ...]) -> None:
    flags = ("--audit-log", str(log), "--audit-writes", "true", *lane)
    with serving(tmp_path / "data", *flags) as server:
        server.sql(f"CREATE TABLE t {COLUMNS}")
        server.post("command=insert&table=t", [{"title": "SECRET"}, {"title": "SECRET"}])
        server.post("command=insert&table=t", b'{"title":"SECRET"}\n{"title":"b"}\n', "application/x-ndjson")
        server.post("command=update&table=t&where=id:NUMLE:3", {"title": "SECRET"})
        server.post("command=delete&table=t&where=title:STREQ:SECRET")
        assert server.post("command=insert&table=t", [{"id": "no number"}]).status_code == 400
        server.rows("limit_max=1")
        assert server.stop() == 0
    assert list(done(log)) == [
        ("sql", None, 0, 200),
        ("insert", "t", 2, 200),
        ("bulk", "t", 2, 200),
        ("update", "t", 3, 200),
        ("delete", "t", 3, 200),
        ("insert", None, None, 400),
    ]
    lsns = [line["lsn"] for line in lines(log) if "lsn" in line and line["operation"] not in ("start", "stop")]
    assert lsns == sorted(lsns)
    assert "SECRET" not in log.read_text()


def test_keys_are_named_by_their_ids_and_what_becomes_of_them_is_noted(tmp_path: Path, log: Path) -> None:
    data = tmp_path / "data"
    made = finished("key", "make", "chief", "--scope", "admin", "--data", str(data), cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    [key] = [word for word in made.stdout.split() if word.startswith("tcsql_")]
    _, key_id, secret = key.split("_", 2)
    with serving(data, "--audit-log", str(log)) as server:
        mine = {"authorization": f"Bearer {key}"}
        assert server.post("command=sql", {"sql": f"CREATE TABLE t {COLUMNS}"}).status_code == 401
        assert server.post("command=sql", {"sql": f"CREATE TABLE t {COLUMNS}"}, headers=mine).status_code == 200
        other = finished("key", "make", "reader", "--scope", "read", "--data", str(data), cwd=tmp_path)
        [weak] = [word for word in other.stdout.split() if word.startswith("tcsql_")]
        wait_for(lambda: any(line["operation"] == "key" for line in lines(log)))
        refused = server.client.get(server.url + "/backup", headers={"authorization": f"Bearer {weak}"})
        assert refused.status_code == 403
        assert server.stop() == 0
        told = server.stderr()
    found = lines(log)
    # of what a stranger was refused there is no line: anybody could fill the disk with them
    assert [(line["caller"], line["status"]) for line in found if line["operation"] == "sql"] == [(key_id, 200)]
    assert [(line["caller"], line["status"]) for line in found if line["operation"] == "backup"] == [
        (weak.split("_")[1], 403)
    ]
    [noted] = [line for line in found if line["operation"] == "key"]
    assert (noted["key"], noted["key_name"]) == (weak.split("_")[1], "reader")
    for hidden in (secret, weak.split("_", 2)[2]):
        assert hidden not in log.read_text()
        assert hidden not in told


def test_a_log_that_was_moved_is_begun_anew_by_the_next_line_and_by_a_signal(tmp_path: Path, log: Path) -> None:
    with serving(tmp_path / "data", "--audit-log", str(log)) as server:
        server.sql(f"CREATE TABLE t {COLUMNS}")
        log.rename(tmp_path / "audit.1")
        server.process.send_signal(signal.SIGHUP)
        wait_for(log.exists)
        assert log.read_text() == ""
        server.sql("DROP TABLE t")
        assert [line["did"] for line in lines(log)] == [["drop table t"]]
        assert "drop" not in (tmp_path / "audit.1").read_text()
        assert server.stop() == 0


def test_an_adopted_schema_is_noted_and_a_log_that_cannot_be_made_keeps_a_server_from_starting(
    tmp_path: Path, log: Path
) -> None:
    (tmp_path / "schema.sql").write_text(f"CREATE TABLE t {COLUMNS}")
    with serving(tmp_path / "data", "--schema", "schema.sql", "--audit-log", str(log)) as server:
        assert server.stop() == 0
    assert [line["operation"] for line in lines(log)] == ["schema", "start", "stop"]
    assert lines(log)[0]["did"] == ["create table t"]
    found = finished("serve", "--data", "data", "--port", "0", "--audit-log", "no/such/file", cwd=tmp_path)
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert "audit log" in found.stderr


def test_without_a_file_lines_of_keys_are_in_the_log_and_the_owners_are_not(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as server:
        server.sql(f"CREATE TABLE t {COLUMNS}")
        assert server.stop() == 0
        assert server.stderr() == ""
    made = finished("key", "make", "chief", "--scope", "admin", "--data", str(data), cwd=tmp_path)
    [key] = [word for word in made.stdout.split() if word.startswith("tcsql_")]
    with serving(data) as server:
        server.post("command=sql", {"sql": "DROP TABLE t"}, headers={"authorization": f"Bearer {key}"})
        assert server.stop() == 0
        told = [json.loads(line) for line in server.stderr().splitlines()]
    [line] = [line for line in told if line["logger"] == "tcsql.audit"]
    assert (line["message"], line["caller"], line["did"]) == ("sql", key.split("_")[1], ["drop table t"])
