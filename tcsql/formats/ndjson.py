"""Newline-delimited JSON: one object a line, both ways.

What a line means is the caller's to say (``parse_lines``), so that a file is read exactly as the HTTP interface
reads the same bytes. Lines are parsed by the thousand; a batch that is refused is gone through line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from tcsql.errors import CallerError
from tcsql.formats.records import Bad, Record, RowBatch, Rows, Value

#: Rows handed on at once.
BATCH_ROWS: Final = 5_000

#: The rows of some lines, as many as lines; raises CallerError when one of them is no row.
ParseLines = Callable[[Sequence[bytes]], Sequence[Mapping[str, Value]]]


class NdjsonReader:
    """Feed it bytes; it yields the rows of whole lines. Blank lines are passed over."""

    def __init__(self, table: str, parse_lines: ParseLines) -> None:
        self._table = table
        self._parse_lines = parse_lines
        self._rest: list[bytes] = []
        self._line = 1

    def feed(self, data: bytes) -> Iterator[Record]:
        """More of the file."""
        if b"\n" not in data:  # a line longer than a piece: joined once it is whole
            self._rest.append(data)
            return
        *lines, rest = b"".join([*self._rest, data]).split(b"\n")
        self._rest = [rest]
        yield from self._read(lines)

    def finish(self) -> Iterator[Record]:
        """The end of the file; its last line needs no line end."""
        rest = b"".join(self._rest)
        self._rest = []
        yield from self._read([rest] if rest else [])

    def _read(self, lines: list[bytes]) -> Iterator[Record]:
        for start in range(0, len(lines), BATCH_ROWS):
            batch = lines[start : start + BATCH_ROWS]
            first, self._line = self._line, self._line + len(batch)
            if b"" not in batch:
                try:
                    rows = self._parse_lines(batch)
                except CallerError:
                    pass  # blank lines of spaces, or a bad one: with their numbers
                else:
                    yield self._rows(rows, batch, range(first, self._line))
                    continue
            numbered = [pair for pair in enumerate(batch, first) if pair[1] and not pair[1].isspace()]
            yield from self._batch(numbered)

    def _rows(self, rows: Sequence[Mapping[str, Value]], lines: Sequence[bytes], numbers: Sequence[int]) -> Rows:
        return Rows(self._table, rows, False, lambda n: (numbers[n], _shown(lines[n])))

    def _batch(self, numbered: list[tuple[int, bytes]]) -> Iterator[Record]:
        if not numbered:
            return
        lines = [line for _, line in numbered]
        try:
            rows = self._parse_lines(lines)
        except CallerError:
            yield from self._singly(numbered)
            return
        yield self._rows(rows, lines, [number for number, _ in numbered])

    def _singly(self, numbered: list[tuple[int, bytes]]) -> list[Record]:
        batch = RowBatch(self._table, False, lambda n: (numbered[n][0], _shown(numbered[n][1])))
        for index, (number, line) in enumerate(numbered):
            try:
                [row] = self._parse_lines([line])
                batch.add(index, row)
            except CallerError as error:
                batch.refuse(Bad(number, _shown(line), error.message))
        batch.flush()
        return batch.records


def _shown(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", "replace")


def ndjson_lines(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Rows as JSON bytes to lines. The engine's rows are valid as they are: stored values are client values."""
    for row in rows:
        yield row + b"\n"
