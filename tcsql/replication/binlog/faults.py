"""What can be wrong with a binary log, in one error: it cannot be followed from here."""

from __future__ import annotations

from tcsql.errors import SourceFault


class BinlogFault(SourceFault):
    """Bytes that cannot be read exactly; ``extra["kind"]``: broken, unknown or unsuited (the source's settings)."""

    def __init__(self, message: str, hint: str | None = None, kind: str = "broken") -> None:
        super().__init__(message, hint, kind=kind)


def broken(what: str) -> BinlogFault:
    """Bytes that are no binary log, or not all of one."""
    return BinlogFault(f"the binary log is broken: {what}", "the table is copied afresh", "broken")


def unknown(what: str) -> BinlogFault:
    """Something that a newer server has, or that we do not read."""
    return BinlogFault(f"the binary log has {what}, which is not known here", "follow by mode outbox", "unknown")


def unsuited(what: str, remedy: str) -> BinlogFault:
    """The server's settings leave out what is needed."""
    return BinlogFault(f"the binary log cannot be followed: {what}", remedy, "unsuited")
