"""Names of transactions, and sets of them: where a follower is in the history of a source. Pure.

MariaDB: ``0-1-42`` is domain, server, number; in each domain numbers ascend, so a place is one name for each domain.
MySQL: ``uuid:42`` or ``uuid:tag:42``; a place is a set of intervals, written ``uuid:1-41:50:tag:1-7``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from struct import pack
from typing import Final

from tcsql.replication.binlog.faults import broken

_MARIADB: Final = re.compile(r"([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,20})")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TAG: Final = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_INTERVAL: Final = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?")
#: Set in the first eight bytes of a set with tags, and the number of its members between.
_TAGGED: Final = 1


class MariadbGtids:
    """One name for each domain.

    >>> place = MariadbGtids("0-1-42,5-2-7")
    >>> place.add("0-3-43")
    >>> str(place), place.has("5-2-6"), place.has("9-1-1")
    ('0-3-43,5-2-7', True, False)
    """

    def __init__(self, text: str = "") -> None:
        self._last: dict[int, tuple[int, int]] = {}
        for name in text.split(",") if text else ():
            self.add(name.strip())

    def add(self, name: str) -> None:
        """The transaction is part of the place from now on; raises BinlogFault for what is no name."""
        domain, server, number = _mariadb_name(name)
        self._last[domain] = (server, number)

    def has(self, name: str) -> bool:
        """Whether the transaction is part of it."""
        domain, _, number = _mariadb_name(name)
        last = self._last.get(domain)
        return last is not None and number <= last[1]

    def __str__(self) -> str:
        return ",".join(f"{domain}-{server}-{number}" for domain, (server, number) in sorted(self._last.items()))


def _mariadb_name(name: str) -> tuple[int, int, int]:
    match = _MARIADB.fullmatch(name)
    if match is None:
        raise broken(f"{name[:60]!r} names no transaction of MariaDB's")
    return int(match[1]), int(match[2]), int(match[3])


class MysqlGtids:
    """Intervals of numbers, for each server and tag.

    >>> place = MysqlGtids("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7")
    >>> place.add("3e11fa47-71ca-11e1-9e33-c80aa9429562:6")
    >>> str(place)
    '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7'
    """

    def __init__(self, text: str = "") -> None:
        #: First and last of each interval, ascending; by ``uuid`` or ``uuid:tag``.
        self._intervals: dict[str, list[tuple[int, int]]] = {}
        for part in "".join(text.split()).lower().split(",") if text.strip() else ():
            self._add_part(part)

    def _add_part(self, part: str) -> None:
        uuid, *members = part.split(":")
        if not _UUID.fullmatch(uuid) or not members:
            raise broken(f"{part[:60]!r} names no transactions of MySQL's")
        owner = uuid
        for member in members:
            interval = _INTERVAL.fullmatch(member)
            if interval is not None:
                first = int(interval[1])
                self._add(owner, first, int(interval[2]) if interval[2] else first)
            elif _TAG.fullmatch(member):
                owner = f"{uuid}:{member}"
            else:
                raise broken(f"{part[:60]!r} names no transactions of MySQL's")

    def add(self, name: str) -> None:
        """The transaction is part of the set from now on; raises BinlogFault for what is no name."""
        owner, _, number = name.rpartition(":")
        intervals = self._intervals.get(owner)
        if intervals and number.isdigit() and intervals[-1][1] + 1 == int(number):  # nearly always
            intervals[-1] = (intervals[-1][0], int(number))
        else:
            self._add_part(name.lower())

    def _add(self, owner: str, first: int, last: int) -> None:
        if not 0 < first <= last < 1 << 63:
            raise broken(f"{first}-{last} are no numbers of transactions")
        merged: list[tuple[int, int]] = []
        for low, high in sorted([*self._intervals.get(owner, ()), (first, last)]):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], high))
            else:
                merged.append((low, high))
        self._intervals[owner] = merged

    def has(self, name: str) -> bool:
        """Whether the transaction is part of it."""
        owner, _, number = name.rpartition(":")
        intervals = self._intervals.get(owner, [])
        at = bisect_right(intervals, (int(number), 1 << 63)) - 1
        return at >= 0 and intervals[at][0] <= int(number) <= intervals[at][1]

    def includes(self, other: MysqlGtids) -> bool:
        """Whether all transactions of another set are part of it.

        >>> MysqlGtids("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9").includes(
        ...     MysqlGtids("3e11fa47-71ca-11e1-9e33-c80aa9429562:2-3:9"))
        True
        """
        for owner, wanted in other._intervals.items():
            held = self._intervals.get(owner, [])
            for first, last in wanted:
                at = bisect_right(held, (first, 1 << 63)) - 1
                if at < 0 or held[at][1] < last:
                    return False
        return True

    def __str__(self) -> str:
        servers: dict[str, list[str]] = {}
        for owner, found in sorted(self._intervals.items()):
            uuid, _, tag = owner.partition(":")
            servers.setdefault(uuid, []).append(f"{tag}:{_written(found)}" if tag else _written(found))
        return ",".join(f"{uuid}:{':'.join(parts)}" for uuid, parts in servers.items())

    def encoded(self) -> bytes:
        """As COM_BINLOG_DUMP_GTID sends it; with tags only where there are some: servers before 8.3 know none."""
        tagged = any(":" in owner for owner in self._intervals)
        count = len(self._intervals)
        parts = [pack("<Q", (_TAGGED << 56) | (count << 8) | _TAGGED if tagged else count)]
        for owner, found in sorted(self._intervals.items()):
            uuid, _, tag = owner.partition(":")
            parts.append(bytes.fromhex(uuid.replace("-", "")))
            if tagged:
                parts.append(bytes([len(tag) << 1]) + tag.encode())
            parts.append(pack("<Q", len(found)))
            parts.extend(pack("<QQ", first, last + 1) for first, last in found)
        return b"".join(parts)


def _written(intervals: list[tuple[int, int]]) -> str:
    return ":".join(str(first) if first == last else f"{first}-{last}" for first, last in intervals)


def uuid_text(data: bytes) -> str:
    """Sixteen bytes as a UUID."""
    digits = data.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
