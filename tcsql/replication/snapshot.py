"""Rows of several tables as of one committed state: what the sources that are asked by SQL have in common. Blocking.

    connection.read(BEGIN)                            the state is now
    read_snapshot(connection, readers, noted, asked)  rows of the keys noted, and the stretch asked for; ends by COMMIT

Keys that were noted are looked up in chunks; those without a row (or with one that the table's condition leaves out)
are gone. Small steps cost one round trip: statements that ask for no more than a chunk of keys go out together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tcsql.engine.values import PKey
from tcsql.errors import SourceFault
from tcsql.replication.connection import Connection
from tcsql.replication.keytext import KEYS_AT_ONCE
from tcsql.replication.rows import Result
from tcsql.replication.source import KeysRead, KeyText, RangeRead, ReadKeys, ReadRange, Rows, TableChange
from tcsql.replication.tablereader import KeysFound, TableReader, changed, concat

BEGIN: Final = "START TRANSACTION WITH CONSISTENT SNAPSHOT"
#: Characters of statements that go out together; an answer to all of them is held at once.
_MOST_TEXT: Final = 1_000_000
#: Unknown column, unknown table, no such key: altered or dropped since it was looked at.
_ALTERED: Final = frozenset([1054, 1146, 1176])


@dataclass(frozen=True, slots=True)
class SnapshotRead:
    """The rows of a state. ``foreign``: tables of which a text was noted that is no key of theirs."""

    changes: Mapping[str, TableChange] = field(default_factory=dict)
    read: RangeRead | KeysRead | None = None
    foreign: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Question:
    table: str
    sql: str
    keys: int


def read_snapshot(
    connection: Connection,
    readers: Mapping[str, TableReader],
    noted: Mapping[str, Sequence[KeyText]],
    asked: ReadRange | ReadKeys | None,
) -> SnapshotRead:
    """Rows of a snapshot that has begun, which this ends. Raises SourceAway, SourceFault: then the session is no good.

    ``noted``: keys by table, each once; tables without a reader are passed over.
    """
    keys = {name: readers[name].keys_of(texts) for name, texts in noted.items() if name in readers}
    questions = [each for name, found in keys.items() for each in _of_keys(readers[name], found.texts)]
    wanted: list[KeyText] = []
    if asked is not None:
        if asked.table not in readers:
            raise SourceFault(f"table {asked.table} is not followed")
        reader = readers[asked.table]
        if isinstance(asked, ReadKeys):
            wanted = reader.texts_of(asked.pkeys)
        own = _of_asked(reader, asked, wanted)
    else:
        own = []
    answers = _answers(connection, [*questions, *own])
    changes = {name: _change(readers[name], found, answers) for name, found in keys.items()}
    return SnapshotRead(
        {name: change for name, change in changes.items() if len(change.rows) or change.gone},
        None if asked is None else _read(readers[asked.table], asked, answers),
        [name for name, found in keys.items() if found.foreign],
    )


def _of_keys(reader: TableReader, texts: Sequence[KeyText]) -> list[_Question]:
    size = _keys_at_once(reader)
    chunks = [texts[at : at + size] for at in range(0, len(texts), size)]
    weight = KEYS_AT_ONCE // size  # wide rows: fewer of them at once
    return [_Question(reader.name, reader.sql_of_keys(chunk), len(chunk) * weight) for chunk in chunks]


def _keys_at_once(reader: TableReader) -> int:
    return min(KEYS_AT_ONCE, reader.most_rows)


def _of_asked(reader: TableReader, asked: ReadRange | ReadKeys, texts: Sequence[KeyText]) -> list[_Question]:
    if isinstance(asked, ReadRange):
        limit = min(asked.limit, reader.most_rows)
        return [_Question(asked.table, reader.sql_of_range(asked.after, limit), KEYS_AT_ONCE)]
    if not asked.only_missing:
        return _of_keys(reader, texts)
    chunks = [texts[at : at + KEYS_AT_ONCE] for at in range(0, len(texts), KEYS_AT_ONCE)]
    return [_Question(asked.table, reader.sql_of_presence(chunk), len(chunk)) for chunk in chunks]


def _answers(connection: Connection, questions: Sequence[_Question]) -> Iterator[Result]:
    """The answers in the order of the questions; the transaction ends with the last."""
    answers: list[Result] = []
    groups = list(_groups(questions)) or [[]]
    for group in groups:
        statements = [question.sql for question in group]
        if group is groups[-1]:
            statements.append("COMMIT")
        try:
            answers += connection.read(";".join(statements))[: len(group)]
        except SourceFault as error:
            place = int(error.extra.get("statement", 0))
            if error.extra.get("errno") in _ALTERED and place < len(group):
                raise changed(group[place].table) from None
            raise
    return iter(answers)


def _groups(questions: Sequence[_Question]) -> Iterator[list[_Question]]:
    group: list[_Question] = []
    keys = text = 0
    for question in questions:
        if group and (keys + question.keys > KEYS_AT_ONCE or text + len(question.sql) > _MOST_TEXT):
            yield group
            group, keys, text = [], 0, 0
        group.append(question)
        keys += question.keys
        text += len(question.sql)
    if group:
        yield group


def _change(reader: TableReader, found: KeysFound, answers: Iterator[Result]) -> TableChange:
    rows = _rows(reader, len(found.texts), answers)
    there = set(rows.pkeys)
    return TableChange(rows, [pkey for pkey in found.pkeys if pkey not in there])


def _rows(reader: TableReader, keys: int, answers: Iterator[Result]) -> Rows:
    """The rows of as many chunks as so many keys are asked for in."""
    parts = [reader.rows(next(answers)) for _ in range(0, keys, _keys_at_once(reader))]
    rows = concat(parts, len(reader.schema.columns))
    if len(parts) > 1 and len(set(rows.pkeys)) < len(rows):  # found under two spellings, in two chunks
        first = {pkey: place for place, pkey in reversed(list(enumerate(rows.pkeys)))}
        places = sorted(first.values())
        return Rows([rows.pkeys[at] for at in places], [[column[at] for at in places] for column in rows.columns])
    return rows


def _read(reader: TableReader, asked: ReadRange | ReadKeys, answers: Iterator[Result]) -> RangeRead | KeysRead:
    if isinstance(asked, ReadRange):
        rows = reader.rows(next(answers))
        is_cut = len(rows) >= min(asked.limit, reader.most_rows)
        last = reader.texts_of(rows.pkeys[-1:])[0] if is_cut else None
        return RangeRead(asked.table, rows, last)
    there: set[PKey]
    if asked.only_missing:
        there = {pkey for _ in range(0, len(asked.pkeys), KEYS_AT_ONCE) for pkey in reader.present(next(answers))}
        rows = Rows((), [[] for _ in reader.schema.columns])
    else:
        rows = _rows(reader, len(asked.pkeys), answers)
        there = set(rows.pkeys)
    return KeysRead(asked.table, rows, [pkey for pkey in asked.pkeys if pkey not in there])
