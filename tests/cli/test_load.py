"""``tcsql load`` into a closed store and into a running server: formats, bad lines, compression, tables, progress."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from tcsql.storage.store import Store
from tests.http.serving import Running, command, environment

Run = Callable[..., tuple[int, str, str]]

TABLE = """CREATE TABLE items (id int PRIMARY KEY, title varchar(20), price decimal(10,2), raw blob, on_day date, n int,
KEY (n), KEY (title, n))"""
DUMP = rf"""-- MySQL dump
/*!40101 SET NAMES utf8mb4 */;
USE `shop`;
DROP TABLE IF EXISTS `items`;
{TABLE};
INSERT INTO `items` VALUES (1,'it\'s','1.50',0x00FF,'2020-02-29',5),
(2,'ü',NULL,NULL,'0000-00-00',5),(3,'','0.10','x',NULL,NULL);
/*!50001 CREATE VIEW `v` AS SELECT 1 AS `a`*/;
"""
ROWS: list[dict[str, object]] = [
    {"id": 1, "title": "it's", "price": "1.50", "raw": "AP8=", "on_day": "2020-02-29", "n": 5},
    {"id": 2, "title": "ü", "price": None, "raw": None, "on_day": "0000-00-00", "n": 5},
    {"id": 3, "title": "", "price": "0.10", "raw": "eA==", "on_day": None, "n": None},
]


def held(directory: Path, table: str = "items") -> list[dict[str, object]]:
    """The rows of a closed store, whose indexes are sound."""
    with closing(Store.open(directory)) as store:
        store.database.check_invariants()
        return [orjson.loads(row) for row in store.database.rows(table)]


def written(path: str, content: str | bytes) -> str:
    Path(path).write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_dump_becomes_tables_and_rows(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("load", written("shop.sql", DUMP), "--data", "data")
    assert code == 0
    assert out.startswith("3 rows into items in ")
    assert out.endswith("passed over: 1 CREATE VIEW\n")
    assert held(tmp_path / "data") == ROWS
    assert run("load", "shop.sql", "--data", "data")[0] == 0  # it drops its table first
    assert held(tmp_path / "data") == ROWS


@pytest.mark.parametrize("packed", ["shop.sql.gz", "shop.sql.zst", "misnamed"])
def test_compressed_dump_is_known_by_its_first_bytes(run: Run, tmp_path: Path, packed: str) -> None:
    pack = zstandard.compress if packed.endswith("zst") else gzip.compress
    data = DUMP.encode()
    # two members, as pigz and pzstd write them
    content = pack(data[:100]) + pack(data[100:])
    assert run("load", written(packed, content), "--data", "data")[0] == 0
    assert held(tmp_path / "data") == ROWS


def test_cut_off_archive_is_one_line_and_exit_1(run: Run) -> None:
    content = gzip.compress(DUMP.encode() * 100)
    code, _, err = run("load", written("shop.sql.gz", content[:-20]), "--data", "data")
    assert code == 1
    assert err.startswith("tcsql: shop.sql.gz is damaged or cut off: ")
    assert err.count("\n") == 1


CSV = "id,title,price,raw,on_day,n\n1,it's,1.5,AP8=,2020-02-29,5\n2,ü,,,,5\n3,,0.1,eA==,,\n"
TSV = "id\ttitle\tprice\tn\n1\tit's\t1.50\t5\n2\tü\t\\N\t5\n"
NDJSON = """{"id":1,"title":"it's","price":1.5,"raw":"AP8=","on_day":"2020-02-29","n":5}

{"id":3,"title":"","price":"0.10"}
"""


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("items.csv", CSV, [1, 2, 3]),
        ("items.tsv", TSV, [1, 2]),
        ("items.jsonl", NDJSON, [1, 3]),
        ("items", CSV, [1, 2, 3]),
    ],
)
def test_other_formats_go_into_the_table_of_their_name(
    run: Run, tmp_path: Path, name: str, content: str, ids: list[int]
) -> None:
    schema = written("schema.sql", TABLE)
    code, out, _ = run("load", written(name, content), "--data", "data", "--schema", schema)
    assert (code, out.split(" in ")[0]) == (0, f"{len(ids)} rows into items")
    rows = held(tmp_path / "data")
    assert [row["id"] for row in rows] == ids
    assert rows[0]["price"] == "1.50"
    assert (rows[0]["title"], rows[-1]["title"]) == ("it's", "ü" if ids == [1, 2] else "")


def test_decimal_keeps_every_digit_of_a_json_number(run: Run, tmp_path: Path) -> None:
    schema = written("schema.sql", "CREATE TABLE t (id int PRIMARY KEY, d decimal(40,20))")
    lines = '{"id":1,"d":1}\n{"id":2,"d":12345678901234567890.12345678901234567890}\n'
    assert run("load", written("t.ndjson", lines), "--data", "data", "--schema", schema)[0] == 0
    assert held(tmp_path / "data", "t")[1]["d"] == "12345678901234567890.12345678901234567890"


_REMEDY = "make it first, give its CREATE TABLE with --schema, or let --create guess one)\n"


def test_missing_table_is_made_by_a_guess_only_when_asked(run: Run, tmp_path: Path) -> None:
    code, _, err = run("load", written("items.csv", CSV), "--data", "data")
    assert (code, err.split(" (")) == (1, ["tcsql: there is no table items", _REMEDY])
    assert run("load", "items.csv", "--data", "data", "--create")[0] == 0
    assert run("load", written("more.ndjson", NDJSON), "--data", "data", "--create")[0] == 0
    assert [row["id"] for row in held(tmp_path / "data")] == [1, 2, 3]
    assert [row["id"] for row in held(tmp_path / "data", "more")] == [1, 3]


def test_only_the_wanted_table_of_a_dump_is_loaded(run: Run, tmp_path: Path) -> None:
    other = TABLE.replace("items", "other").replace("id int", "no int").replace("PRIMARY KEY, title", "PRIMARY KEY, t")
    dump = (
        f"DROP TABLE IF EXISTS other, items;{TABLE};{other.replace('title', 't')};INSERT INTO other VALUES (1);" + DUMP
    )
    assert run("load", written("all.sql", dump), "--data", "data", "--table", "items")[0] == 0
    assert held(tmp_path / "data") == ROWS
    with closing(Store.open(tmp_path / "data")) as store:
        assert [schema.name for schema in store.database.schemas()] == ["items"]


def test_given_schema_wins_over_that_of_the_dump(run: Run, tmp_path: Path) -> None:
    no_key = "CREATE TABLE items (id int, title varchar(20));INSERT INTO items VALUES (1,'a');"
    code, _, err = run("load", written("x.sql", no_key), "--data", "data")
    assert (code, err.startswith("tcsql: x.sql, line 1: table items has no primary key (")) == (1, True)
    dump = no_key.replace("VALUES", "(id,title) VALUES")
    assert run("load", written("x.sql", dump), "--data", "data", "--schema", written("s.sql", TABLE))[0] == 0
    assert [row["id"] for row in held(tmp_path / "data")] == [1]


#: Content, the lines of the two bad rows, the reason of the first.
BAD: dict[str, tuple[str, int, int, str]] = {
    "bad.sql": (
        f"{TABLE};\nINSERT INTO items (id,n) VALUES (1,1),\n(2,'x'),\n(3,3);\nINSERT INTO items (id) VALUES (NULL);",
        4,
        6,
        "column \"n\": 'x' is not a whole number",
    ),
    "items.csv": ("id,n\n1,1\n2,x\n3,3\n4\n", 3, 5, "column \"n\": 'x' is not a whole number"),
    "items.ndjson": (
        '{"id":1}\n{"id":2,"n":1.5}\n{"id":3}\n{"id":4,"m":1}\n',
        2,
        4,
        'column "n": 1.5 is not a whole number',
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_line_stops_with_its_number_and_what_was_before_it_stays(run: Run, tmp_path: Path, name: str) -> None:
    content, line, _, reason = BAD[name]
    code, out, err = run("load", written(name, content), "--data", "data", "--schema", written("s.sql", TABLE))
    assert (code, out) == (1, "")
    assert err.startswith(f"tcsql: {name}, line {line}: {reason} (")
    assert err.count("\n") == 1
    assert [row["id"] for row in held(tmp_path / "data")] == [1]


@pytest.mark.parametrize("name", BAD)
def test_skipped_bad_lines_are_in_the_reject_file_with_their_reasons(run: Run, tmp_path: Path, name: str) -> None:
    content, line, second, reason = BAD[name]
    arguments = ["load", written(name, content), "--data", "data", "--schema", written("s.sql", TABLE)]
    code, out, _ = run(*arguments, "--skip-bad", "--reject", "bad.ndjson")
    assert code == 0
    assert "; 2 bad lines in bad.ndjson" in out
    rejected: list[dict[str, Any]] = [json.loads(text) for text in Path("bad.ndjson").read_text().splitlines()]
    assert [(each["file"], each["line"]) for each in rejected] == [(name, line), (name, second)]
    assert rejected[0]["reason"] == reason
    assert rejected[0]["text"] in content
    assert [row["id"] for row in held(tmp_path / "data")] == [1, 3]


def test_two_databases_in_one_dump_are_refused(run: Run) -> None:
    code, _, err = run("load", written("all.sql", "USE a;\nUSE a;\nUSE b;"), "--data", "data")
    assert (code, err.startswith("tcsql: all.sql, line 3: a second database, b, begins here (")) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.sql", "--data", "data"], 2, "cannot read nothing.sql: No such file or directory"),
        (["x.sql", "--data", "data", "--format", "xml"], 2, "there is no format xml"),
        (["-", "--data", "data", "--format", "csv"], 2, "- does not say which table it belongs to"),
        (["x.sql", "--url", "ftp://x"], 2, "ftp://x is not the address of a server"),
        (["x.sql", "--url", "http://127.0.0.1:1"], 2, "no server answers at http://127.0.0.1:1: Connection refused"),
    ],
)
def test_what_is_in_the_way_is_one_line(run: Run, arguments: list[str], code: int, message: str) -> None:
    written("x.sql", DUMP)
    found, _, err = run("load", *arguments)
    assert (found, err.startswith(f"tcsql: {message}"), err.count("\n")) == (code, True, 1), err


def test_standard_input_is_read_and_progress_is_lines_without_a_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        command("load", "-", "--data", str(tmp_path / "data")),
        input=gzip.compress(DUMP.encode()),
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"3 rows into items in ")
    assert held(tmp_path / "data") == ROWS


def test_large_file_is_loaded_in_batches_with_sound_indexes(run: Run, tmp_path: Path) -> None:
    lines = "".join(f'{{"id":{n},"title":"row {n % 97}","n":{n % 1000}}}\n' for n in range(25_000))
    schema = written("s.sql", TABLE)
    assert run("load", written("items.ndjson", lines), "--data", "data", "--schema", schema)[0] == 0
    rows = held(tmp_path / "data")
    assert [row["id"] for row in rows] == list(range(25_000))


def test_running_server_takes_a_dump(run: Run, server: Running) -> None:
    code, out, _ = run("load", written("shop.sql", DUMP), "--url", server.url)
    assert (code, out.split(" in ")[0]) == (0, "3 rows into items")
    assert server.rows("table=items&order_by=id&order_sort=NUMASC") == ROWS  # zero dates are MySQL's own


def test_running_server_takes_lines_and_its_refusals_name_them(run: Run, server: Running) -> None:
    server.sql(TABLE.replace("TABLE items", "TABLE lines"))
    lines = [
        '{"id":10}',
        f'{{"id":11,"raw":"{"AAAA" * 20_000}"}}',  # longer than a line of a bulk load may be
        '{"id":12,"price":12345678.90}',
        f'{{"id":13,"title":"{"x" * 200_000}"}}',
        '{"id":14,"n":18446744073709551616}',
        '{"id":15}',
    ]
    code, out, _ = run("load", written("lines.ndjson", "\n".join(lines)), "--url", server.url, "--skip-bad")
    assert (code, "4 rows into lines" in out, "2 bad lines" in out) == (0, True, True)
    rejected = [json.loads(text) for text in Path("tcsql-rejected.ndjson").read_text().splitlines()]
    reasons = [(each["line"], each["reason"].split(": ")[0]) for each in rejected]
    assert reasons == [(4, 'column "title"'), (5, 'column "n"')]
    found = server.rows("table=lines&order_by=id&order_sort=NUMASC")
    assert [(row["id"], row["price"], len(row["raw"] or "")) for row in found] == [
        (10, None, 0), (11, None, 80_000), (12, "12345678.90", 0), (15, None, 0),
    ]  # fmt: skip


def test_running_server_takes_csv_up_to_the_bad_line_and_makes_guessed_tables(run: Run, server: Running) -> None:
    server.sql(TABLE.replace("TABLE items", "TABLE fields"))
    code, _, err = run("load", written("fields.csv", "id,n\n20,1\n21,x\n"), "--url", server.url)
    assert (code, err.split(" (")[0]) == (1, "tcsql: fields.csv, line 3: column \"n\": 'x' is not a whole number")
    assert [row["id"] for row in server.rows("table=fields")] == [20]
    assert run("load", written("guessed.csv", "id,title\n1,a\n2,b\n"), "--url", server.url, "--create")[0] == 0
    assert server.rows("table=guessed") == [{"id": 1, "title": "a"}, {"id": 2, "title": "b"}]
