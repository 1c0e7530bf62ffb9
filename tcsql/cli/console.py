"""Printing for people: tables that stay aligned in a pipe, and text that cannot steer a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

#: A pipe has no width, and a value that is cut off there is lost.
_PIPE_WIDTH: Final = 100_000


def console() -> Console:
    """Standard output; a terminal's own width, none in a pipe."""
    return Console(markup=False, highlight=False) if sys.stdout.isatty() else _piped()


def _piped() -> Console:
    return Console(markup=False, highlight=False, width=_PIPE_WIDTH, no_color=True)


def safe(value: object) -> str:
    r"""Text for a terminal: control characters, escape sequences among them, are shown and not obeyed.

    >>> safe("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(value)
    )


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Table:
    """An aligned table; numbers to the right, NULL as NULL."""
    table = Table(caption=caption or None, caption_justify="left")
    taken = [list(row) for row in rows]
    for number, column in enumerate(columns):
        values = [row[number] for row in taken if row[number] is not None]
        numeric = bool(values) and all(isinstance(value, (int, float)) for value in values)
        table.add_column(Text(safe(column)), justify="right" if numeric else "left", overflow="fold")
    for row in taken:
        table.add_row(*(Text("NULL", style="dim") if value is None else Text(safe(value)) for value in row))
    return table
