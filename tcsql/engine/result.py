"""What a query gives: values that every interface renders in its own way. Rows are JSON bytes, ready to send."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """A page of rows. ``total`` None: only a scan would tell. ``next``/``prev`` are cursors, None at the ends."""

    total: int | None
    rows: list[bytes]
    next: str | None = None
    prev: str | None = None


@dataclass(frozen=True, slots=True)
class CountResult:
    count: int


@dataclass(frozen=True, slots=True)
class Groups:
    """A page of group rows; ``total`` is the number of groups."""

    total: int
    rows: list[bytes]


Result = Page | CountResult | Groups
