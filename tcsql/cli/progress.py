"""Progress of a load: a bar on a terminal, a line now and then elsewhere; always on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from tcsql.cli.files import InputFile

#: Between two lines where there is no terminal.
_LINE_INTERVAL_S: Final = 5.0


class _Rows(ProgressColumn):
    """Rows, and rows a second since the start."""

    def render(self, task: Task) -> Text:
        rows: int = task.fields["rows"]
        rate = rows / task.elapsed if task.elapsed else 0
        return Text(f"{rows:,} rows, {rate:,.0f} rows/s")


class LoadProgress:
    """Shows how far one load is. ``update`` is cheap; call it once a batch."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._started_s = self._shown_s = time.monotonic()
        self._file: InputFile | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f} %"),
                _Rows(Column(no_wrap=True)),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True, markup=False, highlight=False))
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started_s

    def begin(self, file: InputFile) -> None:
        """The next file."""
        self._file = file
        if self._bar is not None:
            self._task = self._bar.add_task(file.name, total=file.size_bytes, rows=0)

    def update(self, rows: int) -> None:
        """``rows`` of this file are written."""
        file = self._file
        assert file is not None  # begin was called
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=file.done_bytes, rows=rows)
            return
        now = time.monotonic()
        if now - self._shown_s >= _LINE_INTERVAL_S:
            self._shown_s = now
            print(self._line(file, rows), file=sys.stderr, flush=True)

    def _line(self, file: InputFile, rows: int) -> str:
        line = f"{file.name}: {rows:,} rows, {rows / self.seconds:,.0f} rows/s"
        if not file.size_bytes or not file.done_bytes:
            return line
        part = file.done_bytes / file.size_bytes
        left_s = self.seconds * (1 - part) / part
        return f"{line}, {part:.0%}, {left_s:.0f} s left"
