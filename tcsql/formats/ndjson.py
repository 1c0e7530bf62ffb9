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
            numbered = list(enumerate(lines[start : start + BATCH_ROWS], self._line))
            self._line += len(numbered)
            kept = [(number, line) for number, line in numbered if line and not line.isspace()]
            yield from self._batch(kept)

    def _batch(self, numbered: list[tuple[int, bytes]]) -> Iterator[Record]:
        if not numbered:
            return
        try:
            rows = self._parse_lines([line for _, line in numbered])
        except CallerError:
            yield from self._singly(numbered)
            return
        yield Rows(self._table, rows, False, lambda n: (numbered[n][0], _shown(numbered[n][1])))

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
