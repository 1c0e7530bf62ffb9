"""``tcsql dump``: what it writes loads back to identical rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from tcsql.engine.change import Delete, Upsert
from tcsql.engine.query import Filter
from tcsql.sql import changes_of
from tcsql.storage.store import Store
from tests.cli.conftest import ROWS
from tests.http.serving import Running

Run = Callable[..., tuple[int, str, str]]

HARD = """CREATE TABLE hard (a varchar(20), b datetime(3), raw varbinary(9), d decimal(30,10), e enum('x','ü'),
f double, g int AS (1) STORED, body text, PRIMARY KEY (a, b), KEY (d), FULLTEXT KEY ft (body))"""
HARD_ROWS = [
    {
        "a": f"it's \\ {n}\n",
        "b": f"2020-01-01 00:00:00.{n:03}",
        "raw": bytes([n, 0]),
        "d": f"{n}.5",
        "e": "ü",
        "f": n / 7,
        "g": n,
    }
    for n in range(50)
]


@pytest.fixture
def full(store: Path) -> Path:
    """The closed store of the other commands' tests, with a second table of hard values."""
    with closing(Store.open(store)) as opened:
        opened.commit_blocking(changes_of(HARD, lambda name: None))
        opened.commit_blocking([Upsert("hard", HARD_ROWS, trusted=True)])  # type: ignore[arg-type]  # bytes, as from MySQL
    return store


def content(directory: Path) -> dict[str, tuple[object, list[bytes]]]:
    with closing(Store.open(directory)) as opened:
        database = opened.database
        return {schema.name: (schema, list(database.rows(schema.name))) for schema in database.schemas()}


@pytest.mark.parametrize("name", ["out.sql", "out.sql.gz", "out.sql.zst"])
def test_sql_of_a_closed_store_loads_back_to_identical_tables(run: Run, full: Path, tmp_path: Path, name: str) -> None:
    assert run("dump", "--data", str(full), "--output", name)[0] == 0
    assert run("load", name, "--data", "again")[0] == 0
    assert content(tmp_path / "again") == content(full)
    code, _, err = run("load", name, "--data", "again")
    assert (code, "already" in err) == (1, True)  # it drops nothing unless told
    assert run("dump", "--data", str(full), "-o", name, "--drop-tables", "--force")[0] == 0
    assert run("load", name, "--data", "again")[0] == 0


def test_ndjson_of_one_table_loads_back_to_identical_rows(run: Run, full: Path, tmp_path: Path) -> None:
    assert run("dump", "--data", str(full), "-t", "hard", "-o", "hard.ndjson")[0] == 0
    assert len(Path("hard.ndjson").read_text().splitlines()) == len(HARD_ROWS)
    Path("s.sql").write_text(HARD)
    assert run("load", "hard.ndjson", "--data", "again", "--schema", "s.sql")[0] == 0
    assert content(tmp_path / "again")["hard"][1] == content(full)["hard"][1]


def test_generated_keys_go_on_where_they_were(run: Run, tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "first")) as opened:
        opened.commit_blocking(
            changes_of("CREATE TABLE c (id int AUTO_INCREMENT PRIMARY KEY, n int)", lambda name: None)
        )
        opened.commit_blocking([Upsert("c", [{"n": 1}, {"n": 2}])])
        opened.commit_blocking([Delete("c", Filter())])
    assert run("dump", "--data", "first", "-o", "c.sql")[0] == 0
    assert run("load", "c.sql", "--data", "again")[0] == 0
    with closing(Store.open(tmp_path / "again")) as opened:
        assert opened.commit_blocking([Upsert("c", [{"n": 3}])]).tally.last_insert_id == 3


def test_suffix_says_how_output_is_packed(run: Run, full: Path) -> None:
    plain = run("dump", "--data", str(full))
    for name, unpack in (
        ("x.gz", gzip.decompress),
        ("x.zst", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
    ):
        assert run("dump", "--data", str(full), "-o", name)[0] == 0
        assert unpack(Path(name).read_bytes()).startswith(b"-- Dump of TCSQL\n")
    assert plain[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-t", "hrad"], 1, 'there is no table hrad (did you mean "hard"?)'),
        (["--format", "ndjson"], 2, "NDJSON holds one table (name one with --table: posts, hard)"),
        (["--format", "csv"], 2, "there is no format csv"),
        (["-o", "there"], 2, "there exists already"),
        (["-o", "no/such/place"], 2, "cannot write no/such/place: No such file or directory"),
    ],
)
def test_refusals_are_one_line(run: Run, full: Path, arguments: list[str], code: int, message: str) -> None:
    Path("there").write_text("kept")
    found, _, err = run("dump", "--data", str(full), *arguments)
    assert (found, err.startswith(f"tcsql: {message}"), err.count("\n")) == (code, True, 1), err
    assert Path("there").read_text() == "kept"
    assert not list(Path().glob("*.partial"))


def test_running_server_is_dumped_page_by_page(run: Run, server: Running, tmp_path: Path) -> None:
    assert run("dump", "--url", server.url, "-t", "posts", "-o", "posts.ndjson")[0] == 0
    assert [json.loads(line) for line in Path("posts.ndjson").read_text().splitlines()] == ROWS
    assert run("dump", "--url", server.url, "-t", "posts", "-o", "posts.sql")[0] == 0
    assert run("load", "posts.sql", "--data", "again")[0] == 0
    assert [json.loads(row) for row in content(tmp_path / "again")["posts"][1]] == ROWS
