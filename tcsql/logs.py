"""Log lines: one JSON object each, on standard error, without a secret and without a byte that steers a terminal.

    {"time":"2026-11-20T15:04:05.123Z","level":"warning","logger":"tcsql.http","message":"…","operation":"sql"}

``extra={…}`` of any logging call becomes fields. All loggers of the process come here: ours, uvicorn's, asyncio's,
Python's warnings, and what ends a thread. Invariants:

    a record is one line of ASCII, whatever a name, a value or a message holds
    keys, bearer tokens and passwords are replaced before a line is made, in messages, fields and tracebacks alike
    a line that cannot be written is dropped: a log never fails a request

The standard library, not structlog: the libraries below us log through it in any case, so its records have to become
JSON here, and with structlog there would be two ways into one log. A formatter of forty lines is all that is missing.

Cost: 20 us a line. Requests are never logged, so nothing on their way waits for it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

from tcsql.settings import Settings

HIDDEN: Final = "[redacted]"
#: Longer strings are cut: one message must not fill the disk.
MOST_CHARACTERS: Final = 16_384
_DEPTH: Final = 4
#: What a pipe takes at once when it takes anything (PIPE_BUF), and how long the rest of a longer line is waited for.
_PIECE: Final = 4_096
_PATIENCE_MS: Final = 20
#: What a record has without ``extra``.
#: uvicorn says its messages once more with colours.
_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_SECRETS: Final = (
    # a key: its id may be seen, its secret may not; a secret that was cut short neither
    (re.compile(r"\b(tcsql_[A-Za-z0-9-]+_)[A-Za-z0-9_=-]{8,}"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(Bearer|Basic)(\s+|%20|\+)[^\s\"',;]+", re.IGNORECASE), rf"\1 {HIDDEN}"),
    # up to the last @ of the word: a password may hold one, spelt as it should not be
    (re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://[^\s:/@]*:)\S*@"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            r"\b(\w*(?:password|passwd|pwd|secret|push_token|api_?key)[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s&,;)}\]]+)",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
)


def redacted(text: str) -> str:
    """A text without the secrets that it may hold.

    >>> redacted("Authorization: Bearer tcsql_a1b2_0123456789abcdef")
    'Authorization: Bearer [redacted]'
    >>> redacted("cannot reach mysql://tcsql:p@ss@db.example:3306/forum")
    'cannot reach mysql://tcsql:[redacted]@db.example:3306/forum'
    """
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def clean(value: object, depth: int = _DEPTH) -> object:
    """A value as it may stand in a line: plain, redacted, of bounded length and depth."""
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and isfinite(value)):
        return value
    if depth and isinstance(value, Mapping):
        return {redacted(str(name)): clean(each, depth - 1) for name, each in value.items()}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [clean(each, depth - 1) for each in value]
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    text = redacted(text)
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"


def line_of(entry: Mapping[str, object]) -> str:
    """One line of ASCII, without its end: no control character, no escape sequence, no second line.

    >>> line_of({"name": "x\\x1b[2J\\n\\x7f", "key": "Bearer abc"})
    '{"name":"x\\\\u001b[2J\\\\n\\\\u007f","key":"Bearer [redacted]"}'
    """
    return json.dumps(clean(entry), separators=(",", ":")).replace("\x7f", "\\u007f")


def time_of(seconds: float) -> str:
    """UTC with milliseconds.

    >>> time_of(0.0125)
    '1970-01-01T00:00:00.012Z'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(logging.Formatter):
    """Records as lines. A message that does not fit its arguments is shown as it is, never raised."""

    def format(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            message = f"{record.msg} {record.args!r}"
        line: dict[str, object] = {
            "time": time_of(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _OWN and name not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return line_of(line)


def _lost(lines: int) -> dict[str, object]:
    now = time_of(time.time())
    about = f"{lines} lines were lost: nobody took them"
    return {"time": now, "level": "warning", "logger": "tcsql.logs", "message": about}


class _Quiet(logging.StreamHandler[Any]):
    """To standard error; when nobody can take the line, it is lost and counted, and that is all.

    A pipe whose reader has stopped is full after 64 KiB, and writing to it would wait: the event loop, and with it
    every request. So a line is written when the stream says that it takes ``_PIECE`` bytes now, which a pipe then
    takes whole. Costs 1 us more a line.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.lost = 0
        self._poll: select.poll | None = None
        try:
            self._descriptor = stream.fileno()
        except (AttributeError, OSError, ValueError):
            return  # closed, or a stream of this process' own
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        if self._poll is None:
            super().emit(record)
            return
        if self.lost and self._write(line_of(_lost(self.lost)).encode() + b"\n"):
            self.lost = 0
        if not self._write(self.format(record).encode() + b"\n"):
            self.lost += 1

    def _write(self, line: bytes) -> bool:
        """Whether all of it was taken; of a long line the rest may be lost."""
        assert self._poll is not None
        try:
            for start in range(0, len(line), _PIECE):
                if not any(events & select.POLLOUT for _, events in self._poll.poll(_PATIENCE_MS if start else 0)):
                    return False
                os.write(self._descriptor, line[start : start + _PIECE])
        except OSError:
            return False
        return True

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name is logging's
        pass


def configure_logging(level: str) -> None:
    """Send everything that this process logs to standard error, as lines."""
    handler = _Quiet(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    threading.excepthook = _thread_failed
    sys.unraisablehook = _unraisable


def _thread_failed(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None and not isinstance(found.exc_value, SystemExit):
        name = found.thread.name if found.thread is not None else "?"
        logging.getLogger("tcsql").critical("thread %s has failed", name, exc_info=found.exc_value)


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    where = f"{found.err_msg or 'an exception was ignored'}: {found.object!r:.200}"
    logging.getLogger("tcsql").error(where, exc_info=found.exc_value)


def not_default(settings: Settings) -> dict[str, object]:
    """The options that are not as they come, for the line at the start.

    >>> not_default(Settings(port=0))
    {'port': 0}
    """
    plain = Settings()
    names = [option.name for option in fields(Settings)]
    return {name: getattr(settings, name) for name in names if getattr(settings, name) != getattr(plain, name)}
