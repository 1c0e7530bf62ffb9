"""What a file to load is: its format, its table, and a sample of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import orjson

from tcsql.cli.files import STANDARD
from tcsql.cli.targets import ValueRow
from tcsql.engine.schema import NAME
from tcsql.errors import BadRequest, SetupError
from tcsql.formats.infer import SAMPLE_ROWS

FORMATS: Final = ("sql", "csv", "tsv", "ndjson")
_SUFFIXES: Final = {
    ".sql": "sql", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson",
}  # fmt: skip
_PACKED: Final = (".gz", ".zst", ".zstd")


def format_of(path: str, head: bytes) -> str:
    """The format of a file by its name, else by how it begins.

    >>> [format_of("posts.csv.gz", b""), *(format_of("-", head) for head in (b'{"id":1}', b"-- MySQL dump", b"a,b"))]
    ['csv', 'ndjson', 'sql', 'csv']
    """
    suffix = _plain_path(path).suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"{"):
        return "ndjson"
    words = (b"--", b"/*", b"CREATE ", b"INSERT ", b"REPLACE ", b"SET ", b"DROP ", b"USE ", b"LOCK ")
    if start.upper().startswith(words):
        return "sql"
    first = start.split(b"\n", 1)[0]
    return "tsv" if b"\t" in first else "csv"


def _plain_path(path: str) -> Path:
    plain = Path(path)
    return plain.with_suffix("") if plain.suffix.lower() in _PACKED else plain


def table_of(path: str) -> str:
    """The table a file is named after."""
    name = _plain_path(path).name.split(".")[0]
    if path == STANDARD or not NAME.fullmatch(name):
        raise SetupError(f"{path} does not say which table it belongs to", "name it with --table")
    return name


def sample_of(head: bytes) -> list[ValueRow]:
    """Rows of the first piece of an NDJSON file, for a guess."""
    lines = [line for line in head.split(b"\n") if line.strip()]
    rows: list[ValueRow] = []
    for number, line in enumerate(lines[:SAMPLE_ROWS], 1):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            if number == len(lines) > 1:
                break  # cut off with the piece
            raise BadRequest(f"line {number} is not JSON, so no table can be guessed") from None
        if not isinstance(row, dict):
            raise BadRequest(f"line {number} is not a JSON object")
        rows.append(row)
    if not rows:
        raise BadRequest("the file is empty, so no table can be guessed")
    return rows
