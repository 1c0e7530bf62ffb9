"""Rows in generations of layouts: a mapping that always shows the newest layout, wherever a row still lies."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.change import AddColumn, DropColumn, RenameColumn
from tcsql.engine.evolution import altered
from tcsql.engine.rows import Rows, encode, translator
from tcsql.engine.schema import Column, TableSchema
from tests.duel import NOW
from tests.pools import INT
from tests.strategies import effort

START = TableSchema("t", (Column("id", INT, False), Column("a", INT)), ("id",))
KEYS = st.integers(0, 8)
STEPS = st.lists(
    st.tuples(st.sampled_from(("put", "put", "remove", "get", "many", "add", "drop", "rename", "migrate")), KEYS),
    max_size=40,
)


@effort(200)
@given(STEPS)
def test_rows_are_a_dict_of_the_newest_layout(steps: list[tuple[str, int]]) -> None:
    rows, plain, schema = Rows(), dict[int, dict[str, object]](), START
    fresh = 0
    snapshots = []
    for what, key in steps:
        if what == "put":
            row = {name: (key if name == "id" else fresh) for name in schema.names}
            rows.put(key, encode(row))  # type: ignore[arg-type]  # integers only
            plain[key] = dict(row)
            fresh += 1
        elif what == "remove":
            rows.remove(key)
            plain.pop(key, None)
        elif what == "get":
            found = rows.get(key)
            assert (None if found is None else json.loads(found)) == plain.get(key)
        elif what == "many":
            keys = sorted(plain)
            assert [json.loads(row) for row in rows.many(keys)] == [plain[each] for each in keys]
        elif what == "migrate":
            left = rows.migrate(key)
            assert left == (not rows.settled)
        else:
            before, layout = (rows.snapshot(), [encode(row) for row in plain.values()]), schema.layout
            schema = _changed(schema, what, key, rows, plain)
            if schema.layout != layout:
                snapshots.append(before)
        for snapshot, expected in snapshots[-2:]:  # older ones are forgotten, as undos are
            assert sorted(snapshot()) == sorted(expected)
        assert len(rows) == len(plain)
        assert {each: json.loads(row) for each, row in rows.items()} == plain
        assert {each in rows for each in plain} <= {True}
        assert rows.bytes == rows.count_bytes()
    everything_removed = list(plain)
    rows.migrate(1_000)
    for key in everything_removed:
        rows.remove(key)
    assert len(rows) == 0 and rows.bytes == 0


def _changed(schema: TableSchema, what: str, key: int, rows: Rows, plain: dict[int, dict[str, object]]) -> TableSchema:
    names = [name for name in schema.names if name != "id"]
    if what == "add":
        name = f"x{schema.layout}"
        after = altered(schema, AddColumn("t", Column(name, INT, default=key, has_default=True), after=""), NOW)
        for number, row in plain.items():
            plain[number] = {name: key, **row}
    elif what == "drop" and names:
        after = altered(schema, DropColumn("t", names[0]), NOW)
        for row in plain.values():
            del row[names[0]]
    elif what == "rename" and names:
        to = f"r{schema.layout}"
        after = altered(schema, RenameColumn("t", names[0], to), NOW)
        for number, row in plain.items():
            plain[number] = {(to if name == names[0] else name): value for name, value in row.items()}
    else:
        return schema
    rows.relayout(schema, after)
    return after


def test_a_row_of_any_older_layout_is_translated_in_one_step() -> None:
    schema, seen = START, [START]
    for change in (
        AddColumn("t", Column("b", INT, default=7, has_default=True)),
        RenameColumn("t", "a", "c"),
        DropColumn("t", "b"),
        AddColumn("t", Column("a", INT)),
        RenameColumn("t", "c", "b"),
    ):
        schema = altered(schema, change, NOW)
        seen.append(schema)
    for old in seen:
        row = encode({name: number for number, name in enumerate(old.names)})
        value = next((place for place, name in enumerate(old.names) if name in ("a", "c") and old.layout < 4), None)
        found = json.loads(translator(schema, old.layout)(row))
        assert list(found) == list(schema.names)
        assert value is None or found["b"] == value
    assert replace(schema) == TableSchema.from_json(json.loads(json.dumps(schema.to_json())))
