"""``tcsql load``: dumps, CSV, TSV and NDJSON into a running server or a closed store.

A file is a stream of records (see ``tcsql.formats``). Rows are gathered to batches of one table; schema statements
are carried out between them, in the order of the file. The first line that cannot be read, or whose values do not
fit, stops the load with its number; with ``--skip-bad`` it goes to the reject file instead, one JSON object a line:
``{"file": …, "line": …, "reason": …, "text": …}``. What was loaded before it stays.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Protocol, TextIO

import typer

from tcsql.cli.files import InputFile
from tcsql.cli.inputs import FORMATS, format_of, sample_of, table_of
from tcsql.cli.progress import LoadProgress
from tcsql.cli.remote import HERE, OF_SETTINGS, KeyFile, server_at
from tcsql.cli.targets import RowRefused, ServerTarget, StoreTarget, Target, ValueRow
from tcsql.engine.change import Change, CreateTable, DropTable, RenameTable
from tcsql.engine.schema import TableSchema
from tcsql.errors import BadRequest, CallerError, SetupError, UnknownTable
from tcsql.formats.csvtsv import TextTableReader
from tcsql.formats.infer import SAMPLE_ROWS, infer_schema
from tcsql.formats.mysqldump import DumpReader
from tcsql.formats.ndjson import NdjsonReader
from tcsql.formats.records import Bad, Ddl, Record, Rows, Skipped, Use
from tcsql.http.bodies import RowReader
from tcsql.sql import changes_of, create_table_sql

#: Rows of one commit: large enough for the sync to weigh little, small enough for memory.
BATCH_ROWS: Final = 10_000
BATCH_BYTES: Final = 16 << 20
#: The table that a statement of a dump is about.
_ABOUT: Final = re.compile(
    r"\s*(?:CREATE|ALTER)\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?`?([A-Za-z_][A-Za-z0-9_]*)`?", re.IGNORECASE
)
DEFAULT_REJECTS: Final = "tcsql-rejected.ndjson"


def load(
    files: Annotated[list[str], typer.Argument(help="files to load, also .gz and .zst; - is standard input")],
    *,
    table: Annotated[
        str | None,
        typer.Option("--table", "-t", help="the table (default: the file's name); of a dump, the only one to load"),
    ] = None,
    format: Annotated[str, typer.Option(help="auto, sql, csv, tsv or ndjson")] = "auto",  # noqa: A002  # the option's name
    create: Annotated[
        bool, typer.Option("--create", help="make a missing table by guessing from the first rows")
    ] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="put bad lines into the reject file and go on")] = False,
    reject: Annotated[str, typer.Option(help="the reject file")] = DEFAULT_REJECTS,
    schema: Annotated[
        Path | None, typer.Option(help="a file of CREATE TABLE statements, for tables that are missing")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="load into the closed store in this directory")] = None,
    url: Annotated[str, typer.Option(help=f"load into this running server ({OF_SETTINGS})", show_default=False)] = HERE,
    key_file: KeyFile = None,
) -> None:
    """Load dumps of MySQL and MariaDB, CSV, TSV and NDJSON."""
    if format not in ("auto", *FORMATS):
        raise SetupError(f"there is no format {format}", f"formats are auto, {', '.join(FORMATS)}")
    with ExitStack() as stack:
        target: Target = StoreTarget(data) if data is not None else ServerTarget(server_at(url, key_file))
        stack.enter_context(closing(target))
        rejects = stack.enter_context(closing(Rejects(reject, skip_bad)))
        progress = stack.enter_context(LoadProgress())
        loader = stack.enter_context(closing(Loader(target, rejects, table, create, progress)))
        if schema is not None:
            loader.make_missing_tables(schema)
        for name in files:
            with closing(InputFile(name)) as file:
                loader.load(file, name, format)
    print(loader.summary(progress.seconds))


class Rejects:
    """The reject file, made when the first line goes into it; without ``--skip-bad`` the first one is an error."""

    def __init__(self, path: str, skip_bad: bool) -> None:
        self.path = path
        self.count = 0
        self._skip_bad = skip_bad
        self._file: TextIO | None = None

    def add(self, name: str, bad: Bad, hint: str | None = None) -> None:
        """Note a bad line, or raise it."""
        if not self._skip_bad:
            raise BadRequest(f"{name}, line {bad.line}: {bad.reason}", hint or "--skip-bad goes on without such lines")
        if self._file is None:
            try:
                self._file = open(self.path, "w", encoding="utf-8")  # noqa: SIM115  # closed by close
            except OSError as error:
                raise SetupError(f"cannot write {self.path}: {error.strerror}") from None
        line = {"file": name, "line": bad.line, "reason": bad.reason, "text": bad.text}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.count += 1

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Reader(Protocol):
    def feed(self, data: bytes) -> Iterator[Record]: ...

    def finish(self) -> Iterator[Record]: ...


@dataclass(slots=True)
class _Batch:
    """Rows of one table gathered from several records, each with its place."""

    parts: list[Rows] = field(default_factory=list)
    size: int = 0

    def rows(self) -> list[ValueRow]:
        return [row for part in self.parts for row in part.rows]

    def place(self, number: int) -> tuple[int, str]:
        for part in self.parts:
            if number < len(part.rows):
                return part.place(number)
            number -= len(part.rows)
        raise IndexError(number)


class Loader:
    """Loads files into one target and counts."""

    def __init__(
        self, target: Target, rejects: Rejects, table: str | None, create: bool, progress: LoadProgress
    ) -> None:
        self._target = target
        self._rejects = rejects
        self._only = table
        self._create = create
        self._progress = progress
        self._name = ""
        self._batch = _Batch()
        self._sender = ThreadPoolExecutor(1, "sender") if target.works_elsewhere else None
        self._sent: Future[None] | None = None
        self._file_rows = 0
        self._database: str | None = None
        #: Tables made by --schema: a dump's own statements about them are passed over.
        self._given: set[str] = set()
        self._tables: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()

    def close(self) -> None:
        """Wait for what is on its way; its outcome no longer matters."""
        if self._sender is not None:
            self._sender.shutdown()

    # --- tables ---------------------------------------------------------------------------------------------

    def make_missing_tables(self, path: Path) -> None:
        """Carry out the CREATE TABLE statements of a file for tables that are not there."""
        try:
            sql = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise SetupError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise SetupError(f"{path} is not UTF-8 at byte {error.start}") from None
        for change in changes_of(sql, self._target.schema):
            if not isinstance(change, CreateTable):
                raise SetupError(f"{path} has other statements than CREATE TABLE")
            self._given.add(change.schema.name)
            if self._target.schema(change.schema.name) is None:
                self._make(change.schema)

    def _make(self, schema: TableSchema) -> None:
        self._target.execute(create_table_sql(schema), [CreateTable(schema)])

    def _guess(self, table: str, rows: Sequence[ValueRow], names: Sequence[str] | None = None) -> TableSchema:
        if not self._create:
            hint = "make it first, give its CREATE TABLE with --schema, or let --create guess one"
            raise UnknownTable(f"there is no table {table}", hint)
        schema = infer_schema(table, rows, names)
        self._make(schema)
        made = self._target.schema(table)
        assert made is not None  # just made
        return made

    # --- one file -------------------------------------------------------------------------------------------

    def load(self, file: InputFile, path: str, format_: str) -> None:
        """Load one file; raises for the first bad line unless they are skipped."""
        self._name, self._file_rows, self._database = file.name, 0, None
        self._progress.begin(file)
        reader = self._reader(file, path, format_)
        waiting_bytes = 0
        for piece in file.pieces():
            self._take(reader.feed(piece))
            waiting_bytes += len(piece)
            if waiting_bytes >= BATCH_BYTES:  # rows with large values fill the memory before they are many
                self._flush()
                waiting_bytes = 0
        self._take(reader.finish())
        self._settle()

    def _reader(self, file: InputFile, path: str, format_: str) -> _Reader:
        if format_ == "auto":
            format_ = format_of(path, file.head())
        if format_ == "sql":
            only = self._only
            return DumpReader(self._target.schema, lambda table: only is None or table == only)
        table = self._only or table_of(path)
        schema = self._target.schema(table)
        if format_ == "ndjson":
            if schema is None:
                schema = self._guess(table, sample_of(file.head()))
            return NdjsonReader(table, RowReader(schema).lines)

        def sample(names: list[str], records: list[list[str | None]]) -> TableSchema:
            rows = [dict(zip(names, record, strict=False)) for record in records[:SAMPLE_ROWS]]
            return self._guess(table, rows, names)

        return TextTableReader(table, schema, format_ == "tsv", sample)

    def _take(self, records: Iterator[Record]) -> None:
        for record in records:
            match record:
                case Rows():
                    if self._batch.parts and self._batch.parts[0].table != record.table:
                        self._flush()
                    self._batch.parts.append(record)
                    self._batch.size += len(record.rows)
                    if self._batch.size >= BATCH_ROWS:
                        self._flush()
                case Ddl():
                    self._settle()
                    self._execute(record)
                case Bad():
                    self._settle()
                    self._rejects.add(self._name, record)
                case Skipped():
                    self._skipped[record.what] += 1
                case Use():
                    self._use(record)

    def _use(self, record: Use) -> None:
        if self._database not in (None, record.database):
            raise BadRequest(
                f"{self._name}, line {record.line}: a second database, {record.database}, begins here",
                "dump the databases one by one: their tables would get into each other's way",
            )
        self._database = record.database

    def _execute(self, record: Ddl) -> None:
        if (found := _ABOUT.match(record.sql)) and not self._is_wanted_table(found[1]):
            return  # it need not even be SQL that is known here
        try:
            changes = changes_of(record.sql, self._target.schema)
            wanted = [change for change in changes if self._is_wanted(change)]
            if len(wanted) == len(changes):
                self._target.execute(record.sql, changes)
            elif any(not isinstance(change, DropTable) for change in wanted):
                raise BadRequest("a statement over several tables", "load without --table and --schema")
            else:
                for change in wanted:
                    assert isinstance(change, DropTable)  # DROP TABLE a, b with one of them wanted
                    self._target.execute(f"DROP TABLE IF EXISTS `{change.table}`", [change])
        except CallerError as error:
            line = record.line + int(error.extra.get("line", 1)) - 1
            message = error.message.split(": ", 1)[-1] if "line" in error.extra else error.message
            raise BadRequest(f"{self._name}, line {line}: {message}", error.hint) from None

    def _is_wanted(self, change: Change) -> bool:
        if isinstance(change, RenameTable):
            return self._is_wanted_table(change.table) and self._is_wanted_table(change.to)
        return self._is_wanted_table(change.schema.name if isinstance(change, CreateTable) else change.table)

    def _is_wanted_table(self, table: str) -> bool:
        return table not in self._given and self._only in (None, table)

    # --- rows -----------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Write the batch at hand; a server gets it while the next one is read."""
        batch, self._batch = self._batch, _Batch()
        if not batch.parts:
            return
        self._wait()
        if self._sender is None:
            self._insert(batch)
        else:
            self._sent = self._sender.submit(self._insert, batch)

    def _wait(self) -> None:
        """Wait for the batch on its way; raises why it was refused."""
        sent, self._sent = self._sent, None
        if sent is not None:
            sent.result()

    def _settle(self) -> None:
        self._flush()
        self._wait()

    def _insert(self, batch: _Batch) -> None:
        table, trusted = batch.parts[0].table, batch.parts[0].trusted
        rows = batch.rows()
        start = 0
        while start < len(rows):
            try:
                self._target.insert(table, rows[start:], trusted)
            except RowRefused as refused:
                self._count(table, refused.number)
                line, text = batch.place(start + refused.number)
                self._rejects.add(self._name, Bad(line, text, refused.error.message), refused.error.hint)
                start += refused.number + 1
            else:
                self._count(table, len(rows) - start)
                break

    def _count(self, table: str, rows: int) -> None:
        self._tables[table] += rows
        self._file_rows += rows
        self._progress.update(self._file_rows)

    def summary(self, seconds: float) -> str:
        """One line: rows, tables, time, and what was left out."""
        rows = self._tables.total()
        where = next(iter(self._tables)) if len(self._tables) == 1 else f"{len(self._tables)} tables"
        rate = rows / seconds if seconds else 0
        parts = [f"{rows:,} rows into {where} in {seconds:.1f} s, {rate:,.0f} rows/s"]
        if self._rejects.count:
            parts.append(f"{self._rejects.count:,} bad lines in {self._rejects.path}")
        if self._skipped:
            parts.append(
                "passed over: " + ", ".join(f"{count} {what}" for what, count in sorted(self._skipped.items()))
            )
        return "; ".join(parts)
