"""Table maps and row events: which table, which columns, packed or not; its rows are read by ``tables``. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from tcsql.replication.binlog.events import MOST_EVENT_BYTES, Type
from tcsql.replication.binlog.faults import broken, unknown
from tcsql.replication.binlog.reading import Reader
from tcsql.replication.binlog.statements import inflated
from tcsql.replication.binlog.tablemap import TABLE_ID_BYTES, names_of, table_map_of
from tcsql.replication.binlog.tables import Change, Expected, Misfit, TableCode, Verb, require_whole

_VERBS: Final[Mapping[int, Verb]] = {
    **dict.fromkeys((Type.WRITE_V1, Type.WRITE, Type.WRITE_COMPRESSED_V1, Type.WRITE_COMPRESSED), "insert"),
    **dict.fromkeys((Type.UPDATE_V1, Type.UPDATE, Type.UPDATE_COMPRESSED_V1, Type.UPDATE_COMPRESSED), "update"),
    **dict.fromkeys((Type.DELETE_V1, Type.DELETE, Type.DELETE_COMPRESSED_V1, Type.DELETE_COMPRESSED), "delete"),
    Type.PARTIAL_UPDATE: "update",
}
ROWS: Final = tuple(_VERBS)
_V1: Final = frozenset(
    (
        *(Type.WRITE_V1, Type.UPDATE_V1, Type.DELETE_V1),
        *(Type.WRITE_COMPRESSED_V1, Type.UPDATE_COMPRESSED_V1, Type.DELETE_COMPRESSED_V1),
    )
)
_COMPRESSED: Final = frozenset(range(Type.WRITE_COMPRESSED_V1, Type.DELETE_COMPRESSED + 1))
_V1_HEAD: Final = TABLE_ID_BYTES + 2
_V2_HEAD: Final = _V1_HEAD + 2
#: Ends a statement, without checks of foreign or unique keys, whole rows, no constraints: all rows lie alike.
_FLAGS: Final = 0x9F
#: Names no table: it ends a statement whose rows were all left out.
_DUMMY: Final = 0xFFFFFF
_MOST_CODES: Final = 1000


class RowsReader:
    """Row events of one stream. ``tables``: those to follow; rows of others cost a look at the table map."""

    def __init__(self, tables: Mapping[tuple[str, str], Expected]) -> None:
        self.is_mariadb = False
        self.post_header_of: Callable[[int], int] = lambda kind: 0
        self._tables = tables
        #: By the bytes of table maps behind their number; None for tables that are not followed.
        self._codes: dict[bytes, TableCode | None] = {}
        #: By the numbers of table maps, within one transaction.
        self._known: dict[int, TableCode | None] = {}

    def renew(self) -> None:
        """Tables to follow are others than before; to be called between transactions."""
        self._codes.clear()

    def forget(self) -> None:
        """A transaction has ended: its numbers mean nothing any more."""
        self._known.clear()

    def table_map(self, body: bytes) -> None:
        """Rows of that table follow."""
        described = body[TABLE_ID_BYTES:]
        try:
            code = self._codes[described]
        except KeyError:
            code = self._new_code(described, body)
        self._known[int.from_bytes(body[:TABLE_ID_BYTES], "little")] = code

    def _new_code(self, described: bytes, body: bytes) -> TableCode | None:
        if self.post_header_of(Type.TABLE_MAP) != _V1_HEAD:
            raise unknown("a table map of another form")
        expected = self._tables.get(names_of(body))
        code = None
        if expected is not None:
            code = TableCode(table_map_of(body, is_mariadb=self.is_mariadb), expected)
        if len(self._codes) >= _MOST_CODES:
            self._codes.clear()
        self._codes[described] = code
        return code

    def changes(self, kind: int, body: bytes) -> Iterable[Change | Misfit]:
        """What a row event brings; raises BinlogFault, SourceFault."""
        number = int.from_bytes(body[:TABLE_ID_BYTES], "little")
        try:
            code = self._known[number]
        except KeyError:
            if number == _DUMMY:
                return ()
            raise broken("rows come without a description of their table") from None
        if code is None:
            return ()
        if code.problem is not None:
            return (Misfit(code.name, code.problem),)
        reader = Reader(body, TABLE_ID_BYTES)
        flags = reader.number(2)
        if flags & ~_FLAGS:
            raise unknown(f"rows with flags {flags}")
        is_v1 = kind in _V1
        if self.post_header_of(kind) != (_V1_HEAD if is_v1 else _V2_HEAD):
            raise unknown("rows of another form")
        if not is_v1:  # which partition, and the like
            extra = reader.number(2)
            if extra < 2:
                raise broken("rows begin with what is none")
            reader.take(extra - 2)
        verb = _VERBS[kind]
        count = reader.packed()
        if count != code.columns:
            raise broken("rows have more or fewer columns than their table")
        for _ in range(2 if verb == "update" else 1):
            require_whole(reader.take((count + 7) // 8), count, code.name)
        if kind in _COMPRESSED:
            return code.changes(verb, inflated(reader.rest(), MOST_EVENT_BYTES), 0, is_partial=False)
        return code.changes(verb, body, reader.at, is_partial=kind == Type.PARTIAL_UPDATE)
