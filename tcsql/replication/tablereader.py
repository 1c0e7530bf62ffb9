"""One table that is followed: what is asked of it, and the answers as rows. Pure.

Made of the catalogue as it was at one moment and of the *shape* that the server announced for the select list at that
same moment. Every answer must have that shape, so a row is never read by an older definition than its own: whoever has
changed a column in between is noticed in the very statement that reads it.

Statements look rows up in the primary key, whatever else an optimizer might find: ``FORCE INDEX``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tcsql.engine.schema import TableSchema
from tcsql.engine.values import ColumnType, Kind, PKey
from tcsql.errors import SourceAway, SourceFault
from tcsql.literals import quote_name
from tcsql.replication import keytext
from tcsql.replication.catalogue import CatalogueTable, chosen_columns
from tcsql.replication.mapping import decoder, pkeys_of_rows, select_list
from tcsql.replication.rows import Field, Result
from tcsql.replication.source import KeyText, Rows
from tcsql.sources import FollowedTable

#: Not null, unsigned, zerofill, binary; others tell of indexes, which may come and go.
_FLAGS: Final = 1 | 32 | 64 | 128

#: Bytes of rows to ask for at once, as far as the server's estimate of a row is right.
_MOST_BYTES: Final = 64_000_000
_USUAL_ROW: Final = 500

Shape = tuple[Field, ...]


def shape_of(result: Result) -> Shape:
    """What decides how the columns of an answer are read."""
    return tuple(field._replace(flags=field.flags & _FLAGS) for field in result.fields)


@dataclass(frozen=True, slots=True)
class KeysFound:
    """Keys as texts and as ours, in the same order; ``foreign``: texts that are no keys of this table."""

    texts: list[KeyText]
    pkeys: list[PKey]
    foreign: list[KeyText]


class TableReader:
    """Statements and answers of one table. ``schema``: as it is kept here."""

    def __init__(
        self, table: CatalogueTable, followed: FollowedTable, schema: TableSchema, flavour: str, zone: str
    ) -> None:
        self.schema = schema
        self.shape: Shape | None = None
        #: The server's estimate; of a table that was filled a moment ago it has none yet.
        self.row_bytes = table.bytes // table.rows if table.rows else _USUAL_ROW
        self.most_rows = max(1, _MOST_BYTES // max(1, self.row_bytes))
        self._zone = zone
        self._columns = chosen_columns(table, followed.columns)
        self._keys = table.key_columns
        self._decoders = [decoder(column, schema.by_name[column.name].type) for column in self._columns]
        from_ = f"FROM {quote_name(table.database)}.{quote_name(table.name)}"
        self._all = select_list(self._columns, flavour)
        #: Where the key's columns stand among all.
        self._key_places = [place for place, column in enumerate(self._columns) if column in self._keys]
        key_columns = [self._columns[place] for place in self._key_places]
        self._only_keys = select_list(key_columns, flavour)
        self._key_schema = schema.with_(
            columns=tuple(schema.by_name[column.name] for column in key_columns), indexes=()
        )
        self._from = f"{from_} FORCE INDEX (PRIMARY)"
        # a condition of the settings may end in a comment
        self._where = f" AND ({followed.where}\n)" if followed.where.strip() else ""

    @property
    def name(self) -> str:
        return self.schema.name

    # --- statements -------------------------------------------------------------------------------------------

    def sql_of_shape(self) -> str:
        """A statement that gives no row, and the shape of all others."""
        return f"SELECT {self._all} {self._from} WHERE TRUE{self._where} LIMIT 0"

    def sql_of_keys(self, texts: Sequence[KeyText]) -> str:
        """The rows of some keys, at most ``keytext.KEYS_AT_ONCE``."""
        return f"SELECT {self._all} {self._from} WHERE ({keytext.in_condition(self._keys, texts)}){self._where}"

    def sql_of_presence(self, texts: Sequence[KeyText]) -> str:
        """Which of some keys there are, without the rows."""
        return f"SELECT {self._only_keys} {self._from} WHERE ({keytext.in_condition(self._keys, texts)}){self._where}"

    def sql_of_range(self, after: KeyText | None, limit: int) -> str:
        """The rows behind a key, in the source's order; ``limit``: see ``most_rows``."""
        behind = "TRUE" if after is None else f"({keytext.after_condition(self._keys, after)})"
        order = keytext.order_by(self._keys)
        return f"SELECT {self._all} {self._from} WHERE {behind}{self._where} ORDER BY {order} LIMIT {limit}"

    # --- answers ----------------------------------------------------------------------------------------------

    def rows(self, result: Result) -> Rows:
        """The answer as rows; raises SourceAway when the table was changed since it was looked at."""
        if shape_of(result) != self.shape:
            raise changed(self.name)
        values = [decode(column) for decode, column in zip(self._decoders, result.columns, strict=True)]
        return Rows(pkeys_of_rows(self.schema, values), values)

    def present(self, result: Result) -> list[PKey]:
        """The keys in an answer to ``sql_of_presence``."""
        expected = self.shape and [self.shape[place]._replace(name="") for place in self._key_places]
        if [field._replace(name="") for field in shape_of(result)] != expected:
            raise changed(self.name)
        decoders = [self._decoders[place] for place in self._key_places]
        values = [decode(column) for decode, column in zip(decoders, result.columns, strict=True)]
        return pkeys_of_rows(self._key_schema, values)

    def keys_of(self, texts: Sequence[KeyText]) -> KeysFound:
        """Keys that the source has noted, as ours."""
        key = self.schema.pkey_columns
        try:
            return KeysFound(list(texts), keytext.pkeys_of(key, self._keys, texts, self._zone), [])
        except SourceFault:
            found = KeysFound([], [], [])
        for text in texts:
            try:
                found.pkeys.append(keytext.pkey_of(key, self._keys, text, self._zone))
                found.texts.append(text)
            except SourceFault:
                found.foreign.append(text)
        return found

    def is_key(self, text: KeyText) -> bool:
        """Whether a text that anybody may have written is, to the letter, what this table's key could be. 3 us."""
        key = self.schema.pkey_columns
        try:
            pkey = keytext.pkey_of(key, self._keys, text, self._zone)
            keytext.literals(self._keys, text)
            exact = keytext.text_of(key, self._keys, pkey, self._zone) == text
        except (SourceFault, ValueError):
            return False
        parts = pkey if isinstance(pkey, tuple) else (pkey,)
        return exact and all(_can_hold(column.type, part) for column, part in zip(key, parts, strict=True))

    def texts_of(self, pkeys: Sequence[PKey]) -> list[KeyText]:
        """Keys of ours as the source writes them."""
        key = self.schema.pkey_columns
        return [keytext.text_of(key, self._keys, pkey, self._zone) for pkey in pkeys]


_DATE: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = r"[0-9]{2,3}:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
#: What MySQL prints of dates and times.
_MOMENTS: Final[dict[Kind, re.Pattern[str]]] = {
    Kind.DATE: re.compile(_DATE),
    Kind.DATETIME: re.compile(f"{_DATE} {_TIME}"),
    Kind.TIME: re.compile(f"-?{_TIME}"),
}


def _can_hold(kind: ColumnType, part: int | float | str) -> bool:
    """Whether a column of a key can hold a value; the engine relies on the bounds of numbers."""
    if kind.kind is Kind.INTEGER:
        return kind.low <= int(part) <= kind.high
    if kind.kind is Kind.DECIMAL:
        return abs(int(part)) < int(10 ** (kind.length or 10))
    if kind.kind in _MOMENTS:
        return _MOMENTS[kind.kind].fullmatch(str(part)) is not None
    return True


def changed(table: str) -> SourceAway:
    """Somebody has altered the table since it was looked at: it is looked at anew with the next attempt."""
    return SourceAway(f"table {table} was altered at the source; it is looked at anew")


def concat(parts: Sequence[Rows], columns: int) -> Rows:
    """Rows of several answers as one."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        [pkey for part in parts for pkey in part.pkeys],
        [[value for part in parts for value in part.columns[place]] for place in range(columns)],
    )
