"""What is to be done about each table: the source as it is now, compared with what we hold and how far we were. Pure.

new here                          make it, copy it
here, never followed, same form   re-copy beside it: count first how much would go
here, never followed, another     blocked: a person must drop it or give it another name
followed, same form               go on
TRUNCATE, table swap, new server  re-copy beside it
triggers that were made anew      re-copy beside it
other rows kept (``where``)       re-copy beside it
other columns                     copied into a table beside it, which takes its place when it is whole; without room
                                  for two made anew and copied
lost triggers, no primary key     blocked until that is mended, then re-copied
an index that was made there      made here, beside the rows that answer; one that was dropped there stays: lists that
                                  came here need it, and who moves them drops it there
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Final, NamedTuple

from tcsql.engine.change import CreateIndex, CreateTable, DropTable, SchemaChange
from tcsql.engine.database import Database
from tcsql.engine.schema import IndexDef, TableSchema
from tcsql.replication.position import Phase, Position, TablePosition
from tcsql.replication.source import Identity, TableState
from tcsql.sources import SourceSettings

#: Characters of a name.
MOST_NAME: Final = 64
_BESIDE: Final = "__next"


class Blocked(NamedTuple):
    """Why a table is not followed, and what helps."""

    problem: str
    remedy: str


@dataclass(slots=True)
class Plan:
    """The position to go on from, the schema changes that belong to it, and what cannot be followed."""

    position: Position
    schema_changes: list[SchemaChange] = field(default_factory=list)
    blocked: dict[str, Blocked] = field(default_factory=dict)


def reconcile(
    settings: SourceSettings,
    states: Sequence[TableState],
    position: Position,
    database: Database,
    identity: Identity,
    *,
    room_bytes: int,
    recopies: Collection[str] = (),
) -> Plan:
    """The plan for all tables of the settings.

    ``room_bytes``: memory that new tables may take; ``recopies``: tables that a person wants copied anew.
    """
    same_server = position.identity in ("", identity.server)
    unsure = position.unsure.intersection(table.name for table in settings.tables)
    plan = Plan(replace(position, identity=identity.server, unsure=unsure))
    held = {schema.name: schema for schema in database.schemas()}
    found = {state.name: state for state in states}
    for name in position.tables.keys() - {table.name for table in settings.tables}:
        plan.schema_changes += _without(position.tables[name].beside, held)
        plan.position = plan.position.without_table(name)
    for table in settings.tables:
        state = found.get(table.name)
        if state is None:
            plan.blocked[table.name] = Blocked("the source has no such table", "create it, or take it off `tables`")
            _copy_later(plan, table.name)
            continue
        if state.problem is not None:
            plan.blocked[table.name] = Blocked(state.problem, state.remedy or "see tcsql mysql check")
            _copy_later(plan, table.name)
            continue
        rows = len(database.table(table.name)) if table.name in held else 0
        known = position.tables.get(table.name)
        if known is not None and table.name in held and not has_same_form(held[table.name], state.schema):
            room_bytes -= _beside(plan, state, known, held, room_bytes)
            _take_indexes(plan, state, known, held)
            continue
        if known is not None and known.phase is Phase.COPY:
            room_bytes -= state.needs
        elif known is None and not rows:
            if state.needs > room_bytes:
                plan.blocked[table.name] = _too_large(state, room_bytes)
                continue
            room_bytes -= state.needs
        if known is not None and known.beside:  # its columns are again what they were
            plan.schema_changes += _without(known.beside, held)
            plan.position = plan.position.with_table(table.name, replace(known, beside="", definition=""))
        _one(plan, state, held.get(table.name), not same_server or table.name in recopies, rows)
        _take_indexes(plan, state, known, held)
    return plan


def beside_of(name: str) -> str:
    """What the table is called that a copy goes into.

    >>> beside_of("posts")
    'posts__next'
    """
    return f"{name[: MOST_NAME - len(_BESIDE)]}{_BESIDE}"


def _without(beside: str, held: Mapping[str, TableSchema]) -> list[SchemaChange]:
    return [DropTable(beside)] if beside in held else []


def _beside(
    plan: Plan, state: TableState, known: TablePosition, held: Mapping[str, TableSchema], room_bytes: int
) -> int:
    """Copy a table whose columns have changed beside the one that answers; gives the bytes that it will take.

    The indexes of the old one come along, as far as their columns are still there.
    """
    old, name = held[state.name], beside_of(state.name)
    fresh = TablePosition(state.definition, state.incarnation, beside=name)
    made = state.schema.with_(name=name, indexes=_indexes(old, state.schema))
    begun = held.get(name)
    if known.beside == name and begun is not None and has_same_form(begun, state.schema):
        same = merged_incarnation(known.incarnation, state.incarnation)
        goes_on = known.definition == state.definition and same is not None
        kept = replace(known, incarnation=same or "") if goes_on else replace(fresh, sweeps=True)
        plan.position = plan.position.with_table(state.name, kept)
        return state.needs
    if begun is not None and known.beside != name:  # somebody's
        room_bytes = -1
    if state.needs > room_bytes:
        plan.schema_changes += [*_without(known.beside, held), DropTable(state.name)]
        plan.schema_changes.append(CreateTable(made.with_(name=state.name)))
        plan.position = plan.position.with_table(state.name, replace(fresh, beside=""))
        return 0
    plan.schema_changes += [*_without(known.beside, held), CreateTable(made)]
    plan.position = plan.position.with_table(state.name, fresh)
    return state.needs


def _indexes(old: TableSchema, source: TableSchema) -> tuple[IndexDef, ...]:
    """The source's, and those that were made here; a name that both have is the source's."""
    names = {index.name for index in source.indexes}
    ours = [
        index
        for index in old.indexes
        if index.name not in names
        and all(column in source.by_name for column in index.columns)
        and not any(index.has_entries_of(other) for other in source.indexes)
    ]
    return (*source.indexes, *ours)


def _take_indexes(plan: Plan, state: TableState, known: TablePosition | None, held: Mapping[str, TableSchema]) -> None:
    """Make what was made at the source since it was looked at last, in the table that is held; remember what it has."""
    position = plan.position.tables.get(state.name)
    if position is None:
        return
    plan.position = plan.position.with_table(state.name, replace(position, indexes=_told(state.schema)))
    here = held.get(position.beside or state.name)
    before = None if known is None else known.indexes
    if here is None or before is None or _is_made(here.name, plan):
        return
    declared = [index for index in here.indexes if not index.automatic]
    taken = {index.name.lower() for index in declared}
    for index in state.schema.indexes:
        is_had = index.name.lower() in taken or any(index.has_entries_of(other) for other in declared)
        if not is_had and _told_index(index) not in before:
            plan.schema_changes.append(CreateIndex(here.name, index, if_not_exists=True))


def _is_made(name: str, plan: Plan) -> bool:
    return any(isinstance(change, CreateTable) and change.schema.name == name for change in plan.schema_changes)


def _told(schema: TableSchema) -> tuple[str, ...]:
    return tuple(_told_index(index) for index in schema.indexes)


def _told_index(index: IndexDef) -> str:
    """An index in the words of a position.

    >>> _told_index(IndexDef("by_day", ("uid", "day")))
    'by_day(uid,day)'
    """
    return f"{index.name}({','.join(index.columns)}){' full text' * index.fulltext}"


def _too_large(state: TableState, room_bytes: int) -> Blocked:
    return Blocked(
        f"its {state.rows} rows will take up to {state.needs >> 20} MiB here, and {max(0, room_bytes) >> 20} are free",
        "raise memory_limit, keep fewer columns, or filter its rows",
    )


def _copy_later(plan: Plan, name: str) -> None:
    """Changes are being missed: whatever happens next, this table is copied anew."""
    known = plan.position.tables.get(name)
    if known is not None:
        missed = replace(known, phase=Phase.COPY, after=None, copied=0, sweeps=True)
        plan.position = plan.position.with_table(name, missed)


def _one(plan: Plan, state: TableState, held: TableSchema | None, again: bool, rows: int) -> None:
    known = plan.position.tables.get(state.name)
    fresh = TablePosition(state.definition, state.incarnation)
    same = None if known is None else merged_incarnation(known.incarnation, state.incarnation)
    if held is None:
        plan.schema_changes.append(CreateTable(state.schema))
    elif not has_same_form(held, state.schema):
        if rows:
            plan.blocked[state.name] = Blocked(
                "a table of that name is here already, with other columns", "drop it here, or rename it"
            )
            return
        plan.schema_changes += [DropTable(state.name), CreateTable(state.schema)]
    elif known is None:
        fresh = replace(fresh, phase=Phase.ASK if rows else Phase.COPY, sweeps=bool(rows))
    elif again:
        fresh = replace(fresh, phase=Phase.ASK, sweeps=True)
    elif known.definition == state.definition and same is not None:
        fresh = replace(known, incarnation=same)
    else:
        fresh = replace(fresh, sweeps=True)
    plan.position = plan.position.with_table(state.name, fresh)


def merged_incarnation(known: str, found: str) -> str | None:
    """All that is known of an incarnation when the table has kept its rows, as far as can be told; None when not.

    The right to see a part of it may come and go.

    >>> merged_incarnation("7|a", "|a"), merged_incarnation("7|a", "7|b")
    ('7|a', None)
    """
    parts = list(zip_longest(known.split("|"), found.split("|"), fillvalue=""))
    if any(before and now and before != now for before, now in parts):
        return None
    return "|".join(now or before for before, now in parts)


def has_same_form(held: TableSchema, source: TableSchema) -> bool:
    """Whether rows of one are rows of the other: the same columns of the same types in the same order, the same key.

    Indexes may differ: those here are ours to choose.
    """
    return held.primary_key == source.primary_key and [
        (column.name, column.type, column.nullable) for column in held.columns
    ] == [(column.name, column.type, column.nullable) for column in source.columns]
