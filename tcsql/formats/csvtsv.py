r"""CSV and TSV with a header line: text fields to a client's values.

CSV is RFC 4180: fields may stand in double quotes, a doubled quote is one, line ends may stand inside quotes.
TSV is what ``mysql -B`` and ``SELECT … INTO OUTFILE`` print: no quotes, ``\t \n \r \0 \\`` as escapes, also a
backslash before a real tab or line end.

What is NULL. ``\N`` is, in every column. An empty field is NULL where it could not be a value, and the column can be
NULL or is AUTO_INCREMENT: in numbers, dates, times, ENUM and JSON; in text, binary and SET columns it is the
empty value. In TSV, ``NULL`` (``mysql -B`` prints it) is treated like an empty field; in text, binary and SET columns
it stays the word. Binary columns are base64 text, as in the HTTP interface.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tcsql.engine.schema import Column, TableSchema
from tcsql.engine.values import Kind
from tcsql.errors import BadRequest, UnknownColumn
from tcsql.formats.records import Bad, Record, Rows, Value

BATCH_ROWS: Final = 5_000
#: A quoted field, or a line, that goes on for longer is taken for a quote that was never closed.
MAX_RECORD_CHARACTERS: Final = 64 << 20

_EMPTY_IS_A_VALUE: Final = frozenset({Kind.TEXT, Kind.BINARY, Kind.SET})
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_TSV_FIELD: Final = re.compile(r"((?>(?:[^\t\\]|\\.)*))\t", re.DOTALL)
_TSV_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_TSV_ESCAPES: Final = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}

#: Fields, the line the record begins in, its text.
_Fields = tuple[list[str | None], int, str]


class _Exhausted(Exception):
    """The lines at hand end inside a record."""


class TextTableReader:
    """Feed it bytes of a CSV or TSV file; it yields rows. ``schema`` None: ``sample`` is asked to make one.

    ``sample(names, records)`` gets the header and the first records as text and returns the schema to read with.
    Raises BadRequest for a header that does not fit the table.
    """

    def __init__(
        self,
        table: str,
        schema: TableSchema | None,
        is_tsv: bool = False,
        sample: Callable[[list[str], list[list[str | None]]], TableSchema] | None = None,
    ) -> None:
        assert schema is not None or sample is not None
        self._table = table
        self._schema = schema
        self._sample = sample
        self._is_tsv = is_tsv
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._rest = ""
        self._line = 1
        self._columns: list[Column] | None = None
        self._names: list[str] | None = None
        self._needed = 0
        csv.field_size_limit(MAX_RECORD_CHARACTERS)  # 128 KiB unless told; the module has one limit for all readers

    def feed(self, data: bytes) -> Iterator[Record]:
        """More of the file."""
        self._rest += self._decoder.decode(data)
        if len(self._rest) < self._needed:
            return
        before = len(self._rest)
        yield from self._work(is_last=False)
        if len(self._rest) > MAX_RECORD_CHARACTERS:
            raise BadRequest(f"line {self._line}: a record is longer than {MAX_RECORD_CHARACTERS} characters")
        # nothing was whole: try again when there is twice as much, so that a long record costs linear time
        self._needed = 2 * before if len(self._rest) == before else 0

    def finish(self) -> Iterator[Record]:
        """The end of the file."""
        self._rest += self._decoder.decode(b"", final=True)
        yield from self._work(is_last=True)
        if self._names is None:
            raise BadRequest("the file is empty", "its first line names the columns")

    def _work(self, is_last: bool) -> Iterator[Record]:
        if self._line == 1:
            self._rest = self._rest.removeprefix("\ufeff")
        end = len(self._rest) if is_last else self._rest.rfind("\n") + 1
        lines = [line + "\n" for line in self._rest[:end].split("\n")]
        if lines[-1] == "\n":
            lines.pop()
        split = self._tsv_records if self._is_tsv else self._csv_records
        batch: list[_Fields] = []
        taken = 0
        for used, record in split(lines, is_last):
            taken = used
            if isinstance(record, Bad):
                yield from self._batch(batch)
                batch = []
                yield record
                continue
            batch.append(record)
            if len(batch) >= BATCH_ROWS:
                yield from self._batch(batch)
                batch = []
        self._line += taken
        self._rest = "".join(lines[taken:]) + self._rest[end:]
        yield from self._batch(batch)

    # --- records --------------------------------------------------------------------------------------------

    def _csv_records(self, lines: list[str], is_last: bool) -> Iterator[tuple[int, _Fields | Bad]]:
        """Records with the number of lines used up to and with each."""
        position = 0

        def supply() -> Iterator[str]:
            nonlocal position
            while position < len(lines):
                position += 1
                yield lines[position - 1]
            if not is_last:
                raise _Exhausted

        reader = csv.reader(supply(), strict=True)
        start = 0
        while start < len(lines):
            line = self._line + start
            try:
                fields: list[str | None] = list(next(reader))
            except (_Exhausted, StopIteration):
                return
            except csv.Error as error:
                bad = Bad(line, "".join(lines[start:position]).rstrip("\r\n"), f"not CSV: {error}")
                yield position, bad
                start = position
                continue
            if fields:
                yield position, (fields, line, "".join(lines[start:position]).rstrip("\r\n"))
            start = position

    def _tsv_records(self, lines: list[str], is_last: bool) -> Iterator[tuple[int, _Fields | Bad]]:
        start = 0
        while start < len(lines):
            end = start + 1
            text = lines[start][:-1]
            while _ends_escaped(text) and end < len(lines):
                text += "\n" + lines[end][:-1]
                end += 1
            if _ends_escaped(text) and not is_last:
                return
            text = text.removesuffix("\r")
            if _ends_escaped(text):
                yield end, Bad(self._line + start, text, "the file ends with a backslash")
            elif text:
                yield end, (_tsv_fields(text), self._line + start, text)
            start = end

    # --- rows -----------------------------------------------------------------------------------------------

    def _batch(self, records: list[_Fields]) -> Iterator[Record]:
        if not records:
            return
        if self._names is None:
            header, *records = records
            self._names = [name or "" for name in header[0]]
        if self._columns is None:
            if not records and self._schema is None:
                return
            self._columns = self._bind(records)
        whole: list[_Fields] = []
        for record in records:
            fields, line, text = record
            if len(fields) != len(self._columns):
                bad = Bad(line, text, f"the line has {len(fields)} fields, the header names {len(self._columns)}")
            elif not text.isascii() and _SURROGATE.search(text):
                bad = Bad(line, text.encode("utf-8", "replace").decode(), "the line is not UTF-8")
            else:
                whole.append(record)
                continue
            yield from self._typed(whole)
            whole = []
            yield bad
        yield from self._typed(whole)

    def _typed(self, records: list[_Fields]) -> Iterator[Record]:
        if records:
            yield Rows(self._table, self._rows(records), False, lambda n: (records[n][1], records[n][2]))

    def _bind(self, records: list[_Fields]) -> list[Column]:
        assert self._names is not None  # the header has been read
        if self._schema is None:
            assert self._sample is not None  # one of both is given
            self._schema = self._sample(self._names, [fields for fields, _, _ in records])
        try:
            columns = [self._schema.column(name.strip()) for name in self._names]
        except UnknownColumn as error:
            raise BadRequest(
                f"line 1: {error.message}", error.hint or "the first line of the file names the columns"
            ) from None
        if len({column.name for column in columns}) < len(columns):
            raise BadRequest("line 1: a column is named twice")
        return columns

    def _rows(self, records: list[_Fields]) -> list[dict[str, Value]]:
        assert self._columns is not None  # bound before
        fields = zip(*(record[0] for record in records), strict=True)
        typed = [self._values(column, texts) for column, texts in zip(self._columns, fields, strict=True)]
        names = [column.name for column in self._columns]
        return [dict(zip(names, values, strict=True)) for values in zip(*typed, strict=True)]

    def _values(self, column: Column, texts: Sequence[str | None]) -> Sequence[Value]:
        """The values of one column: what counts as NULL becomes None."""
        if column.type.kind in _EMPTY_IS_A_VALUE:
            nulls: tuple[str, ...] = ()
        elif not (column.nullable or column.auto_increment):
            nulls = ()
        else:
            nulls = ("", "NULL") if self._is_tsv else ("",)
        if not self._is_tsv:
            nulls = (*nulls, "\\N")
        return [None if text in nulls else text for text in texts] if nulls else texts


def _ends_escaped(text: str) -> bool:
    return text.endswith("\\") and (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _tsv_fields(text: str) -> list[str | None]:
    if "\\" not in text:
        return list(text.split("\t"))
    fields = _TSV_FIELD.findall(text + "\t")
    return [None if field == "\\N" else _TSV_ESCAPE.sub(_tsv_escaped, field) for field in fields]


def _tsv_escaped(match: re.Match[str]) -> str:
    found = match[1]
    return _TSV_ESCAPES.get(found, found)
