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
NAMES: Final = tuple(name for name, _, _, _ in _NEEDED)


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


def hears_cascades(flavour: str, version: tuple[int, ...]) -> bool:
    """Whether rows that foreign keys change are in the log, too.

    >>> hears_cascades("mysql", (9, 7, 4)), hears_cascades("mariadb", (11, 8, 2))
    (True, False)
    """
    return flavour == "mysql" and version[:2] >= _HEARS_CASCADES
