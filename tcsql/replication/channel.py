"""What the server and the process of a source say to one another: frames over a socket pair.

A frame is four bytes of length and a pickle; both ends are ours, and nobody else holds the sockets. A step of many
rows goes as several frames, so that the event loop never unpickles more than some milliseconds' worth at once.

    to the source      ("start", settings, base), then ("open", position), ("tables",), ("follow", names),
                       ("step", wait_s, acknowledged, read); without an answer: ("hint", table, keys, lost), ("close",)
    from the source    ("ok", result), or ("rows", Rows) any number of times and then ("step", step),
                       or ("error", class, message, hint, extra)

Cost: 0.4 us a row of eight columns at each end.
"""

from __future__ import annotations

import pickle  # nosec B403  # read from our own other end only
from collections.abc import Iterator, Sequence
from dataclasses import replace
from struct import Struct
from typing import Any, Final

from tcsql.errors import SetupError, SourceAway, SourceFault, TCSQLError
from tcsql.replication.source import KeysRead, RangeRead, Rows, Step

HEAD: Final = Struct("<I")
#: Most rows of one frame, and most bytes as long as a frame holds more than one row.
_MOST_ROWS: Final = 2_000
_MOST_BYTES: Final = 500_000
_KINDS: Final[dict[str, type[TCSQLError]]] = {kind.__name__: kind for kind in (SourceAway, SourceFault, SetupError)}

Message = tuple[Any, ...]


def frame(message: Message) -> bytes:
    """A message as bytes."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return HEAD.pack(len(data)) + data


def message_of(data: bytes) -> Message:
    """The message of a frame, without its length."""
    return pickle.loads(data)  # type: ignore[no-any-return]  # noqa: S301  # written by our own other end  # nosec B301


def frames_of_step(step: Step) -> Iterator[bytes]:
    """A step as frames: the rows of its changes in the changes' order, then those read, then the step without them."""
    for change in step.changes.values():
        yield from _frames_of_rows(change.rows)
    if step.read is not None:
        yield from _frames_of_rows(step.read.rows)
    counts = [len(change.rows) for change in step.changes.values()]
    if step.read is not None:
        counts.append(len(step.read.rows))
    changes = {name: replace(change, rows=_without_rows(change.rows)) for name, change in step.changes.items()}
    read = None if step.read is None else replace(step.read, rows=_without_rows(step.read.rows))
    yield frame(("step", replace(step, changes=changes, read=read), counts))


def _frames_of_rows(rows: Rows) -> Iterator[bytes]:
    for at in range(0, len(rows), _MOST_ROWS):
        yield from _small_frames(rows if len(rows) <= _MOST_ROWS else _slice(rows, at, at + _MOST_ROWS))


def _small_frames(rows: Rows) -> Iterator[bytes]:
    data = frame(("rows", rows))
    if len(data) <= _MOST_BYTES or len(rows) < 2:
        yield data
        return
    half = len(rows) // 2
    yield from _small_frames(_slice(rows, 0, half))
    yield from _small_frames(_slice(rows, half, len(rows)))


def _slice(rows: Rows, start: int, stop: int) -> Rows:
    return Rows(rows.pkeys[start:stop], [column[start:stop] for column in rows.columns])


def _without_rows(rows: Rows) -> Rows:
    return Rows((), [()] * len(rows.columns))


def step_of(step: Step, counts: Sequence[int], pieces: Sequence[Rows]) -> Step:
    """The step again, of its last frame and the rows before it."""
    waiting, wanted = iter(pieces), iter(counts)
    changes = {
        name: replace(change, rows=_take(waiting, next(wanted), change.rows)) for name, change in step.changes.items()
    }
    read: RangeRead | KeysRead | None = step.read
    if read is not None:
        read = replace(read, rows=_take(waiting, next(wanted), read.rows))
    return replace(step, changes=changes, read=read)


def _take(pieces: Iterator[Rows], count: int, empty: Rows) -> Rows:
    if not count:
        return empty
    first = next(pieces)
    if len(first) == count:
        return first
    pkeys, columns = list(first.pkeys), [list(column) for column in first.columns]
    while len(pkeys) < count:
        piece = next(pieces)
        pkeys += piece.pkeys
        for column, more in zip(columns, piece.columns, strict=True):
            column.extend(more)
    return Rows(pkeys, columns)


def frame_of_error(error: TCSQLError) -> bytes:
    """An error for the other side."""
    return frame(("error", type(error).__name__, error.message, error.hint, error.extra))


def error_of(name: str, message: str, hint: str | None, extra: dict[str, Any]) -> TCSQLError:
    """The error again."""
    return _KINDS.get(name, SourceFault)(message, hint, **extra)
