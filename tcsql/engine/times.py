"""Dates and times in text: what MySQL's DATE, DATETIME and TIME columns hold, in the form MySQL prints.

Each function gives the canonical text or raises ValueError, whose text says why, to stand behind the value.
"""

from __future__ import annotations

import re
from datetime import date, time
from typing import Final

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CLOCK: Final = re.compile(r"([0-9]{1,3}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?")


def date_text(text: str) -> str:
    """A day of the calendar; ``date.fromisoformat`` alone would take week dates like 2024-W01-1.

    >>> date_text("2026-11-20")
    '2026-11-20'
    """
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise ValueError("is not a date YYYY-MM-DD")


def datetime_text(text: str, scale: int) -> str:
    """A day and a time of day, with ``scale`` fraction digits; the time may be left out.

    >>> datetime_text("2026-11-20T15:04:05.5", 3)
    '2026-11-20 15:04:05.500'
    """
    day, separator, clock = text.replace("T", " ", 1).partition(" ")
    match = _CLOCK.fullmatch(clock if separator else "00:00:00")
    try:
        if match is None:
            raise ValueError
        hour, minute, second, digits = match.groups()
        moment = f"{date_text(day)} {time(int(hour), int(minute), int(second)).isoformat()}"
    except ValueError:
        raise ValueError("is not a date and time YYYY-MM-DD HH:MM:SS without time zone") from None
    return moment + _fraction(digits, scale)


def time_text(text: str, scale: int) -> str:
    """A time span between -838:59:59 and 838:59:59.

    >>> time_text("-1:02:03", 0)
    '-01:02:03'
    """
    match = _CLOCK.fullmatch(text.removeprefix("-"))
    if match is None:
        raise ValueError("is not a time HH:MM:SS")
    hours, minutes, seconds = (int(part) for part in match.groups()[:3])
    if minutes > 59 or seconds > 59 or (hours, minutes, seconds, (match[4] or "").rstrip("0")) > (838, 59, 59, ""):
        raise ValueError("is outside -838:59:59 to 838:59:59")
    return f"{'-' * text.startswith('-')}{hours:02}:{minutes:02}:{seconds:02}{_fraction(match[4], scale)}"


def _fraction(digits: str | None, scale: int) -> str:
    digits = (digits or "").rstrip("0")
    if len(digits) > scale:
        raise ValueError(f"has more than {scale} fraction digits")
    return "." + digits.ljust(scale, "0") if scale else ""
