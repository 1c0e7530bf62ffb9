"""The demo's data and its start; all five tables are read, one in fifty flights is loaded."""

from __future__ import annotations

import subprocess
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from tcsql.cli import demo
from tcsql.engine.query import Count
from tcsql.errors import SetupError
from tcsql.storage.store import Store
from tests.http.serving import command, environment


def test_rows_are_as_the_files_have_them() -> None:
    source = demo._source()
    schemas = {schema.name: schema for schema in demo.demo_schemas()}
    assert set(schemas) == set(demo._TABLES)
    first = next(demo.read_rows(source, schemas.pop("flights")))
    assert (first["carrier"], first["dep_time"], first["time_hour"]) == ("UA", 517, "2013-01-01 10:00:00")
    for name, schema in schemas.items():
        assert sum(1 for _ in demo.read_rows(source, schema)) == demo._TABLES[name]
    assert any(row["speed"] is None for row in demo.read_rows(source, schemas["planes"]))


def test_the_demo_loads_once_serves_and_prints_requests_that_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = demo.read_rows
    monkeypatch.setattr(demo, "read_rows", lambda source, schema: islice(whole(source, schema), 6_000))
    directory = tmp_path / "data"
    (tmp_path / "data.loading").mkdir()  # of a demo that was interrupted
    demo.load_flights(directory)
    assert not (tmp_path / "data.loading").exists()
    with closing(Store.open(directory)) as store:
        assert store.query(Count("flights")).count == 6_000  # type: ignore[union-attr]  # a count gives a count
        assert store.query(Count("airlines")).count == 16  # type: ignore[union-attr]  # the same
        store.database.check_invariants()
    arguments = command("demo", "--data", str(directory), "--port", "0")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment(), cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            lines = []
            while sum(line.startswith("curl ") for line in lines) < 4:
                lines.append(process.stdout.readline())
                assert lines[-1], lines
            for line in lines:
                if line.startswith("curl "):
                    answer = subprocess.run(
                        ["/bin/sh", "-c", line.replace("curl", "curl -sg --max-time 10", 1)],
                        capture_output=True,
                        text=True,
                        check=True,
                    )
                    assert answer.stdout.startswith(('{"total":', '{"count":')), answer.stdout
        finally:
            process.terminate()
            assert process.wait(20) == 0


def test_without_its_data_the_demo_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(SetupError) as caught:
        demo.load_flights(tmp_path / "data")
    assert caught.value.hint == "pip install 'tcsql[demo]'"


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = demo.read_rows
    monkeypatch.setattr(demo, "read_rows", lambda source, schema: islice(whole(source, schema), 10))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").write_text("")
    with pytest.raises(SetupError):
        demo.load_flights(tmp_path / "data")
    assert (tmp_path / "data" / "precious").exists()
