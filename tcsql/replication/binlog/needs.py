"""What a server's settings have to be, so that its log holds all that a follower needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

#: The first release of MySQL that is known to write what foreign keys do into its log.
_HEARS_CASCADES: Final = (9, 7)
#: By name: the value that is needed, for which server, and how it is set.
_NEEDED: Final = (
    ("log_bin", "ON", "", "start the server with --log-bin"),
    ("binlog_format", "ROW", "", "run there: SET GLOBAL binlog_format = 'ROW'"),
    ("binlog_row_image", "FULL", "", "run there: SET GLOBAL binlog_row_image = 'FULL'"),
    ("binlog_row_metadata", "FULL", "", "run there: SET GLOBAL binlog_row_metadata = 'FULL'"),
    ("gtid_mode", "ON", "mysql", "see the manual: SET GLOBAL enforce_gtid_consistency, then gtid_mode step by step"),
)
#: Whether a replica writes what it takes over into its own log, by the names of old and new servers.
_TAKEN_OVER: Final = ("log_slave_updates", "log_replica_updates")
_FOLDED: Final = "lower_case_table_names"
NAMES: Final = (*(name for name, _, _, _ in _NEEDED), *_TAKEN_OVER, _FOLDED)
#: What a replica that does not is told.
REPLICA: Final = (
    "the server is a replica of another, and does not write what it takes over into its own log",
    "set log_slave_updates (MySQL 8.0.26 and later: log_replica_updates) = ON in its configuration and start it again",
)


def lacking(variables: Mapping[str, str], flavour: str) -> Iterator[tuple[str, str, str]]:
    """Name, problem and remedy of each setting of a server that is not as it has to be.

    >>> [name for name, _, _ in lacking({"log_bin": "ON", "binlog_format": "MIXED"}, "mariadb")]
    ['binlog_format', 'binlog_row_image', 'binlog_row_metadata']
    """
    for name, needed, only, remedy in _NEEDED:
        if only and only != flavour:
            continue
        found = variables.get(name, "").upper()
        if found == "1":
            found = "ON"
        if found != needed:
            shown = found or "not there"
            yield name, f"{name} is {shown}: the binary log has to hold whole rows with the names of columns", remedy
    if variables.get(_FOLDED) == "2":
        problem = f"{_FOLDED} is 2: names of tables in the log are not those that the tables have"
        yield _FOLDED, problem, "follow by mode outbox"


def leaves_out_what_it_takes_over(variables: Mapping[str, str]) -> bool:
    """Whether rows that come from another server are not in the log."""
    return any(variables.get(name, "ON").upper() not in ("ON", "1") for name in _TAKEN_OVER)


def hears_cascades(flavour: str, version: tuple[int, ...]) -> bool:
    """Whether rows that foreign keys change are in the log, too.

    >>> hears_cascades("mysql", (9, 7, 4)), hears_cascades("mariadb", (11, 8, 2))
    (True, False)
    """
    return flavour == "mysql" and version[:2] >= _HEARS_CASCADES
