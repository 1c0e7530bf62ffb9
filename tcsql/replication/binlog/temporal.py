"""Dates and times as the log stores them, as the text that a SELECT prints. Pure.

``*2`` are the types since MySQL 5.6, highest byte first, so that bytes compare as times do; negative TIMEs are
complements. MariaDB with ``mysql56_temporal_format=OFF`` and tables of its first versions have the older ones, whose
fraction digits stand nowhere in the log: they are taken from the table's definition.

A moment costs 0.25 us: dates and minutes come from dictionaries, seconds from a list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from struct import unpack
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tcsql.replication.binlog.faults import broken, unsuited

_TWO: Final = tuple(f"{number:02}" for number in range(100))
_COLON_SECONDS: Final = tuple(f":{number:02}" for number in range(64))
_MOST_KEPT: Final = 20_000
_DAY_S: Final = 86_400
#: Bytes of the fraction, by its digits; and of MariaDB's older types all in all.
FRACTION_BYTES: Final = (0, 1, 1, 2, 2, 3, 3)
HIRES_DATETIME_BYTES: Final = (5, 6, 6, 7, 7, 7, 8)
HIRES_TIME_BYTES: Final = (3, 4, 4, 5, 5, 5, 6)
#: 838:59:59 and one second: MariaDB's older TIME is kept above it.
_HIRES_ZERO_S: Final = (838 * 60 + 59) * 60 + 60
_ZERO_MOMENT: Final = "0000-00-00 00:00:00"

Zone = Callable[[int], int]


class Memo(dict[int, str]):
    """What a function gives, remembered for some thousand arguments; a C call for each that is known."""

    def __init__(self, make: Callable[[int], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: int) -> str:
        if len(self) >= _MOST_KEPT:
            self.clear()
        value = self[key] = self._make(key)
        return value


def zone_of(text: str) -> Zone:
    """Seconds to add to Unix time for a zone as MySQL spells it; raises BinlogFault for one that is not known here.

    >>> zone_of("-05:30")(0)
    -19800
    """
    if text[:1] in ("+", "-"):
        hours, minutes = text[1:].split(":")
        seconds = (int(hours) * 60 + int(minutes)) * 60
        return lambda moment: -seconds if text[0] == "-" else seconds
    if text == "UTC":
        return lambda moment: 0
    try:
        zone = ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise unsuited(f"time_zone {text} is not known here", 'write it as an offset, such as "+01:00"') from None
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def offset(moment: int) -> int:
        found = (epoch + timedelta(seconds=moment)).astimezone(zone).utcoffset()
        return int(found.total_seconds()) if found is not None else 0

    return offset


def _date(year: int, month: int, day: int) -> str:
    if year > 9999 or month > 12 or day > 31:
        raise broken("a date is none")
    return f"{year:04}-{month:02}-{day:02}"


def date_of(packed: int) -> str:
    """Three bytes: 15 bits of year, 4 of month, 5 of day."""
    return _date(packed >> 9, packed >> 5 & 15, packed & 31)


def _day_of(packed: int) -> str:
    """The date and a blank, of the upper bits of a DATETIME."""
    months = packed >> 5
    return _date(months // 13, months % 13, packed & 31) + " "


def _minute_of(packed: int) -> str:
    hour, minute = packed >> 6, packed & 63
    if hour > 23 or minute > 59:
        raise broken("a time is none")
    return f"{hour:02}:{minute:02}"


def _fraction(number: int, digits: int) -> str:
    """Digits behind the point; they are stored as an even number of digits."""
    if digits & 1:
        number //= 10
    text = f"{number:0{digits}}"
    if len(text) > digits:
        raise broken("a fraction of a second is none")
    return f".{text}"


_DAYS: Final = Memo(_day_of)
_MINUTES: Final = Memo(_minute_of)
_DATES: Final = Memo(date_of)


def dates(raw: Sequence[bytes]) -> list[str]:
    """DATE."""
    return [_DATES[int.from_bytes(value, "little")] for value in raw]


def datetimes(raw: Sequence[bytes], digits: int) -> list[str]:
    """DATETIME(digits): five bytes and the fraction."""
    size = 5 + FRACTION_BYTES[digits]
    gap = bytes(8 - size)
    # all of them as numbers of eight bytes in one call
    numbers = unpack(f">{len(raw)}Q", gap + gap.join(raw))
    shift = 8 * (size - 5)
    low = 1 << 39 + shift
    if raw and min(numbers) < low:
        raise broken("a DATETIME is negative")
    days, minutes, seconds = _DAYS, _MINUTES, _COLON_SECONDS
    wholes = [number - low >> shift for number in numbers] if shift else [number - low for number in numbers]
    texts = [days[whole >> 17] + minutes[whole >> 6 & 0x7FF] + seconds[whole & 63] for whole in wholes]
    if not shift:
        return texts
    mask = (1 << shift) - 1
    return [text + _fraction(number & mask, digits) for text, number in zip(texts, numbers, strict=True)]


def _epoch_day(number: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=number):%Y-%m-%d} "


_EPOCH_DAYS: Final = Memo(_epoch_day)
_OF_DAY: Final = Memo(lambda minute: f"{minute // 60:02}:{minute % 60:02}")


def moment(seconds: int, zone: Zone, fraction: int = 0) -> str:
    """A TIMESTAMP without its fraction; 0 is the zero date unless a fraction follows."""
    if not seconds and not fraction:
        return _ZERO_MOMENT
    day, second = divmod(seconds + zone(seconds), _DAY_S)
    return _EPOCH_DAYS[day] + _OF_DAY[second // 60] + _COLON_SECONDS[second % 60]


def timestamps(raw: Sequence[bytes], digits: int, zone: Zone) -> list[str]:
    """TIMESTAMP(digits): four bytes of Unix time and the fraction."""
    if not digits:
        return [moment(number, zone) for number in unpack(f">{len(raw)}I", b"".join(raw))]
    pairs = ((int.from_bytes(value[:4], "big"), int.from_bytes(value[4:], "big")) for value in raw)
    return [moment(second, zone, fraction) + _fraction(fraction, digits) for second, fraction in pairs]


def time_of(value: bytes, digits: int) -> str:
    """TIME(digits): three bytes and the fraction, of which negative ones are the complement together."""
    extra = FRACTION_BYTES[digits]
    number = int.from_bytes(value, "big") - (1 << 23 + 8 * extra)
    sign, number = ("-", -number) if number < 0 else ("", number)
    whole, fraction = number >> 8 * extra, number & (1 << 8 * extra) - 1
    return _clock(sign, whole >> 12 & 0x3FF, whole >> 6 & 63, whole & 63) + (
        _fraction(fraction, digits) if digits else ""
    )


def _clock(sign: str, hours: int, minutes: int, seconds: int) -> str:
    if hours > 838 or minutes > 59 or seconds > 59:
        raise broken("a TIME is none")
    return f"{sign}{hours:02}:{minutes:02}:{seconds:02}"


# --- older types ----------------------------------------------------------------------------------------------


def old_datetime(value: bytes) -> str:
    """Eight bytes: a number that reads as the digits of the moment."""
    text = f"{int.from_bytes(value, 'little'):014}"
    if len(text) > 14 or int(text[8:10]) > 23 or int(text[10:12]) > 59 or int(text[12:]) > 59:
        raise broken("a DATETIME is none")
    return f"{_date(int(text[:4]), int(text[4:6]), int(text[6:8]))} {text[8:10]}:{text[10:12]}:{text[12:]}"


def old_time(value: bytes) -> str:
    """Three bytes: a number with sign that reads as the digits of the time."""
    number = int.from_bytes(value, "little", signed=True)
    sign, number = ("-", -number) if number < 0 else ("", number)
    return _clock(sign, number // 10_000, number // 100 % 100, number % 100)


def hires_timestamp(value: bytes, digits: int, zone: Zone) -> str:
    """MariaDB's own TIMESTAMP(digits)."""
    fraction = int.from_bytes(value[4:], "big")
    return f"{moment(int.from_bytes(value[:4], 'big'), zone, fraction)}.{_digits(fraction, digits)}"


def hires_datetime(value: bytes, digits: int) -> str:
    """MariaDB's own DATETIME(digits): months and so on, each times what the next can be."""
    number, fraction = divmod(int.from_bytes(value, "big"), 10**digits)
    number, second = divmod(number, 60)
    number, minute = divmod(number, 60)
    number, hour = divmod(number, 24)
    months, day = divmod(number, 32)
    return f"{_date(months // 13, months % 13, day)} {_clock('', hour, minute, second)}.{_digits(fraction, digits)}"


def hires_time(value: bytes, digits: int) -> str:
    """MariaDB's own TIME(digits)."""
    number = int.from_bytes(value, "big") - _HIRES_ZERO_S * 10**digits
    sign, number = ("-", -number) if number < 0 else ("", number)
    whole, fraction = divmod(number, 10**digits)
    return f"{_clock(sign, whole // 3600, whole // 60 % 60, whole % 60)}.{_digits(fraction, digits)}"


def _digits(number: int, digits: int) -> str:
    text = f"{number:0{digits}}"
    if len(text) > digits:
        raise broken("a fraction of a second is none")
    return text
