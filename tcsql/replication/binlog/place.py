"""Where a follower is in a binary log, and where it has to begin to read to go on from there. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

import orjson

from tcsql.replication.binlog.faults import broken

_NUMBERS: Final = frozenset(["position", "since_position", "made_s"])


class Place(NamedTuple):
    """``file``, ``position``: what stands before them is done; ``gtids``: the same by names.

    With ``gtids``, which have to be all that there are, reading goes on at any server that has them; with "" at this
    server alone, by its file.

    ``since…``: where to begin to read, as far as that is earlier: an XA transaction was prepared there and has not
    ended yet. What is done is not told again, but its rows are needed when it commits.

    ``made_s``: when the file was begun, by the server's clock; 0: not known. After RESET another one has its name.
    """

    file: str = ""
    position: int = 0
    gtids: str = ""
    since_file: str = ""
    since_position: int = 0
    since_gtids: str = ""
    made_s: int = 0

    @property
    def start(self) -> Place:
        """Where to begin to read."""
        if not self.since_file:
            return self
        return Place(self.since_file, self.since_position, self.since_gtids)

    def encoded(self) -> bytes:
        """As it is stored."""
        return orjson.dumps(self._asdict())

    def is_behind(self, file: str, position: int) -> bool:
        """Whether all up to there is done; files are numbered."""
        return (file_number(file), position) <= (file_number(self.file), self.position)


#: The oldest that the server has.
BEGINNING: Final = Place()


def place_of(data: bytes) -> Place:
    """What ``encoded`` gave; raises BinlogFault. b"" is no place: from the oldest that the server has.

    >>> place_of(Place("log.000007", 4, "0-1-9").encoded()).file
    'log.000007'
    """
    if not data:
        return BEGINNING
    try:
        found = orjson.loads(data)
        given = {name: found[name] for name in Place._fields}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise broken("the place that was stored is none") from None
    if not all(type(value) is (int if name in _NUMBERS else str) for name, value in given.items()):
        raise broken("the place that was stored is none")
    return Place(**given)


def file_number(name: str) -> int:
    """The number that a log's name ends in.

    >>> file_number("binlog.000012")
    12
    """
    digits = name.rpartition(".")[2]
    if not digits.isdecimal():
        raise broken(f"{name[:80]!r} is no name of a binary log")
    return int(digits)
