"""From a piece of a dump that begins with rows to records: fast where the pattern matches, row by row where not.

A region is the longest part of the buffer that ends like a statement or a row. It need not end there truly: what
the pattern leaves over stays in the buffer. Rows that only ``read_row`` takes come in runs (a dump with comments in
it, a broken file), so the number that are read one by one before the pattern is tried again doubles up to 1,024, until
the pattern takes more rows than that at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tcsql.formats.inserts import BadRow, Incomplete, Shape, read_row, skip_space
from tcsql.formats.records import Bad, Record, RowBatch, Rows

_MOST_SLOW_ROWS: Final = 1_024
_BEHIND: Final = re.compile(r"(?>(?:\s++|--(?=\s)[^\n]*+|#[^\n]*+|/\*.*?\*/)*)([,;]|\Z)?", re.DOTALL)
#: Where to go on behind a row that cannot be read: at the next row, or behind the statement.
_RESUME: Final = re.compile(r",\s*+(?=\()|;[ \t\r]*+\n")
#: What is kept of a bad row for the report; a reject file gets all of it up to here.
_KEPT_CHARACTERS: Final = 1 << 20


@dataclass(slots=True)
class Scan:
    """What a region gave: records, how many bytes are done with, and whether the statement is over."""

    records: list[Record] = field(default_factory=list)
    consumed: int = 0
    ended: bool = False


class RowScanner:
    """Reads the rows of INSERTs of one shape from the front of a buffer."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._slow_rows = 1

    def scan(self, data: bytes, line: int, is_last: bool) -> Scan:
        """Read as far as rows are whole; ``line``: of the first byte. ``consumed`` 0: more is needed.

        O(length of the data).
        """
        end = len(data) if is_last else _region_end(data)
        text, is_clean = self.shape.charset.decode(data[:end])
        pattern = self.shape.pattern
        scan = Scan()
        left = text
        if pattern is not None:
            left = self._fast(text, line, is_clean, scan)
            scan.consumed = end - len(self.shape.charset.encode(left))
        behind = _BEHIND.match(left)
        assert behind is not None  # every part is optional
        if behind[1] == ";":
            scan.ended = True
            scan.consumed += len(self.shape.charset.encode(left[: behind.end()]))
        elif left and not scan.consumed:
            whole, _ = (left, is_clean) if end == len(data) else self.shape.charset.decode(data)
            self._slow(whole, line, is_last, scan)
        return scan

    def _fast(self, text: str, line: int, is_clean: bool, scan: Scan) -> str:
        """Rows by the pattern; what it leaves over."""
        shape = self.shape
        assert shape.pattern is not None  # the caller has looked
        found = shape.pattern.findall(text)
        if not shape.columns:  # one group only: findall gives texts and not tuples
            return found[-1] if found else ""
        left = found.pop()[-1] if found and found[-1][-1] else ""
        if len(found) >= self._slow_rows:
            self._slow_rows = 1
        if found:
            place = _Place(shape.pattern, text, line)
            try:
                scan.records.append(Rows(shape.table, shape.convert(found, is_clean), True, place))
            except ValueError:
                self._convert_singly([values[:-1] for values in found], place, scan)
        return left

    def _convert_singly(self, raw: list[tuple[str, ...]], place: Callable[[int], tuple[int, str]], scan: Scan) -> None:
        """After a refusal: the good rows, and each bad one with its reason."""
        batch = RowBatch(self.shape.table, True, place)
        for number, values in enumerate(raw):
            try:
                batch.add(number, self.shape.convert_one(values))
            except ValueError as error:
                batch.refuse(Bad(*place(number), str(error)))
        batch.flush()
        scan.records += batch.records

    def _slow(self, text: str, line: int, is_last: bool, scan: Scan) -> None:
        """Rows one by one, up to ``_slow_rows`` of them."""
        ends: dict[int, int] = {}
        batch = RowBatch(self.shape.table, True, lambda start: _at(text, line, start, ends[start]))
        position = 0
        for _ in range(self._slow_rows):
            start = skip_space(text, position)
            try:
                values, end = read_row(text, start)
                position, scan.ended = _separator(text, end, is_last)
                ends[start] = end
                if self.shape.columns:
                    batch.add(start, self.shape.convert_one(values))
            except Incomplete:
                if is_last and text[start:]:
                    at = line + text.count("\n", 0, start)
                    batch.refuse(Bad(at, text[start : start + _KEPT_CHARACTERS], "the dump ends inside a row"))
                    position, scan.ended = len(text), True
                break
            except BadRow as error:
                found = _RESUME.search(text, error.end)
                if found is None and not is_last:
                    break  # it may only be cut off
                position = found.end() if found else len(text)
                scan.ended = found is None or found[0][0] == ";"
                at = line + text.count("\n", 0, error.end)
                bad = text[start : min(found.start() if found else position, start + _KEPT_CHARACTERS)]
                batch.refuse(Bad(at, bad.strip(), error.reason))
            except ValueError as error:
                batch.refuse(Bad(*_at(text, line, start, end), str(error)))
            if scan.ended:
                break
        self._slow_rows = min(_MOST_SLOW_ROWS, self._slow_rows * 2)
        batch.flush()
        scan.records += batch.records
        scan.consumed = len(self.shape.charset.encode(text[:position]))


def _region_end(data: bytes) -> int:
    """Behind the last place that looks like the end of a statement, else of a row, else of the data."""
    end = data.rfind(b";\n")
    if end >= 0:
        return end + 2
    end = data.rfind(b"),")
    return end + 2 if end >= 0 else len(data)


def _separator(text: str, end: int, is_last: bool) -> tuple[int, bool]:
    """Behind the , or ; after a row, and whether it was the ; (or the end of the dump)."""
    match = _BEHIND.match(text, end)
    assert match is not None  # every part is optional
    if match[1] is None:
        raise BadRow(f"expected , or ; after a row, found {text[match.end() : match.end() + 20]!r}", match.end())
    if not match[1] and not is_last:
        raise Incomplete
    return match.end(), match[1] != ","


@dataclass(frozen=True, slots=True)
class _Place:
    """Finds line and text of the n-th row of a region by matching again: only errors ask for it."""

    pattern: re.Pattern[str]
    text: str
    line: int

    def __call__(self, number: int) -> tuple[int, str]:
        for count, match in enumerate(self.pattern.finditer(self.text)):
            if count == number:
                return _at(self.text, self.line, match.start(), match.end())
        raise IndexError(number)


def _at(text: str, line: int, start: int, end: int) -> tuple[int, str]:
    lead = len(text[start:end]) - len(text[start:end].lstrip())
    return line + text.count("\n", 0, start + lead), text[start:end].strip().rstrip(",").rstrip()
