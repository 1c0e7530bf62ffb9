"""Random questions about a table, thrown from one seed: thousands a second, where drawing each part would allow tens.

Operands come from the same small pools as the rows, or from the rows themselves; half of the conditions and orders
are aimed at an index of the table.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from tcsql.engine.query import (
    Aggregate,
    AggregateFunction,
    ColumnRef,
    Condition,
    Conjunction,
    Count,
    Filter,
    Group,
    Operator,
    OrderKind,
    OrderTerm,
    Query,
    Select,
)
from tcsql.engine.schema import TableSchema
from tcsql.engine.values import ColumnType
from tests.pools import NUMBERS, PATTERNS, PHRASES, POOLS, TEXTS

#: What an index can serve comes more often than what it cannot.
FREQUENT = (
    *(Operator.NUMGE, Operator.NUMLE, Operator.NUMBT, Operator.NUMEQ, Operator.STREQ, Operator.STRBW, Operator.STROREQ),
    *(Operator.NUMGT, Operator.NUMLT, Operator.NUMOREQ, Operator.NULL, Operator.STRINC, Operator.FTSPH),
)
LISTS = (Operator.STRAND, Operator.STROR, Operator.STROREQ, Operator.NUMBT, Operator.NUMOREQ)
RANGES = (Operator.NUMGT, Operator.NUMGE, Operator.NUMLT, Operator.NUMLE, Operator.NUMBT, Operator.STRBW)
INVERTED = (Operator.STRINC, Operator.STRINC, Operator.FTSPH, Operator.FTSAND, Operator.FTSOR, Operator.FTSEX)
LIMITS = (0, 1, 2, 3, 5, 10, 100, 1_000)
SKIPS = (0, 0, 0, 1, 2, 5, 50)
NATURAL = {True: OrderKind.NUM, False: OrderKind.STR}


class Questions:
    """Questions about tables of one schema."""

    def __init__(self, schema: TableSchema, seed: int) -> None:
        self.schema = schema
        self.dice = random.Random(seed)

    # --- conditions -----------------------------------------------------------------------------------------

    def column(self) -> ColumnRef:
        return self.dice.choice((None, *self.schema.names))

    def type_of(self, column: ColumnRef) -> ColumnType:
        return self.schema.by_name[self.schema.primary_key[0] if column is None else column].type

    def text(self, kind: ColumnType) -> str:
        """The text of a value that a row may have."""
        value = self.dice.choice(POOLS[kind])
        return value if isinstance(value, str) else kind.text(value)

    def operand(self, operator: Operator, kind: ColumnType) -> str:
        dice = self.dice
        if operator is Operator.NULL:
            return ""
        if operator is Operator.STRRX:
            return dice.choice(PATTERNS)
        if operator is Operator.FTSEX:
            return " ".join(dice.choices((*PHRASES, "&&", "||", "!!", '"', ""), k=dice.randrange(7)))
        if operator in (Operator.FTSAND, Operator.FTSOR, Operator.FTSPH):
            chosen = dice.choices(PHRASES, k=dice.choice((1, 1, 0, 2, 3)))
            return " ".join(chosen) if dice.random() < 0.8 else self.text(kind)
        if operator in LISTS:
            tokens = [
                self.text(kind) if dice.random() < 0.7 else dice.choice(NUMBERS) for _ in range(dice.randrange(5))
            ]
            return dice.choice((",", ",", " ", ", ", ";", "\t")).join(tokens)
        if operator.value.startswith("NUM"):
            return self.text(kind) if dice.random() < 0.6 else dice.choice(NUMBERS)
        value = self.text(kind) if dice.random() < 0.8 else dice.choice(TEXTS)
        if operator in (Operator.STRINC, Operator.STRBW, Operator.STREW) and dice.random() < 0.7:
            start = dice.randrange(len(value) + 1)
            cut = {Operator.STRBW: value[:start], Operator.STREW: value[start:]}
            return cut.get(operator, value[start : start + dice.randrange(5)])
        return value

    def condition(self) -> Condition:
        column = self.column()
        operator = self.dice.choice(FREQUENT if self.dice.random() < 0.6 else tuple(Operator))
        return Condition(column, operator, self.operand(operator, self.type_of(column)), self.dice.random() < 0.2)

    def indexed(self) -> Sequence[str]:
        """The columns of an index, or of the key."""
        return self.dice.choice([*(index.columns for index in self.schema.indexes), self.schema.primary_key])

    def aimed(self) -> Conjunction:
        """Points on the first columns of an index, perhaps a range of the next: what indexes are for."""
        inverted = [index.columns[0] for index in self.schema.indexes if index.fulltext]
        if inverted and self.dice.random() < 0.4:
            name = self.dice.choice(inverted)
            operator = self.dice.choice(INVERTED)
            return (Condition(name, operator, self.operand(operator, self.type_of(name))),)
        found = []
        columns = self.indexed()
        for name in columns[: self.dice.randint(1, len(columns))]:
            kind = self.type_of(name)
            point = Operator.NUMEQ if kind.is_numeric else Operator.STREQ
            listed = Operator.NUMOREQ if kind.is_numeric else Operator.STROREQ
            operator = self.dice.choice((point, point, listed, Operator.NULL))
            found.append(Condition(name, operator, self.operand(operator, kind)))
        if self.dice.random() < 0.5:
            last = found.pop().column
            operator = self.dice.choice(RANGES)
            found.append(Condition(last, operator, self.operand(operator, self.type_of(last))))
        return tuple(found)

    def conjunction(self) -> Conjunction:
        some = [self.condition() for _ in range(self.dice.choice((0, 1, 1, 2, 3)))]
        return (*self.aimed(), *some[:1]) if self.dice.random() < 0.5 else tuple(some)

    def filter(self) -> Filter:
        count = self.dice.choice((0, 1, 1, 1, 1, 2, 3, 4))
        make = self.aimed if self.dice.random() < 0.4 else self.conjunction
        return Filter(tuple(make() for _ in range(count)))

    def narrow_filter(self) -> Filter:
        """For deletes: mostly leaves rows behind, or random histories would tell of empty tables only."""
        if self.dice.random() < 0.5:
            return Filter((self.aimed(),))
        plain = [self.condition() for _ in range(self.dice.randint(1, 3))]
        return Filter((tuple(Condition(each.column, each.operator, each.operand) for each in plain),))

    # --- queries --------------------------------------------------------------------------------------------

    def order(self) -> tuple[OrderTerm, ...]:
        """None, any, or one that an index may hold: some of its columns in a row, in one direction."""
        dice = self.dice
        kind = dice.random()
        if kind < 0.2:
            return ()
        if kind < 0.5:
            return tuple(self.order_term(self.column()) for _ in range(dice.randint(1, 3)))
        columns = self.indexed()
        start = dice.randrange(len(columns))
        descending = dice.random() < 0.5
        chosen = columns[start : dice.randint(start + 1, len(columns))]
        return tuple(OrderTerm(name, NATURAL[self.type_of(name).is_numeric], descending) for name in chosen)

    def order_term(self, column: ColumnRef) -> OrderTerm:
        return OrderTerm(column, self.dice.choice(tuple(OrderKind)), self.dice.random() < 0.5)

    def select(self) -> Select:
        dice, names = self.dice, self.schema.names
        columns = tuple(dice.sample(names, dice.randint(1, len(names)))) if dice.random() < 0.2 else None
        where, order = self.filter(), self.order()
        skip, limit = dice.choice(SKIPS), dice.choice(LIMITS)
        return Select(self.schema.name, columns, where, order, skip, limit, total=dice.random() < 0.5)

    def count(self) -> Count:
        return Count(self.schema.name, self.filter())

    def group(self) -> Group:
        dice, names = self.dice, self.schema.names
        by = tuple(dice.sample(names, dice.choice((0, 1, 1, 2)) if len(names) > 1 else 1))
        wanted = []
        for at in range(dice.randint(1, 3)):
            function = dice.choice(tuple(AggregateFunction))
            column = None if function is AggregateFunction.COUNT else dice.choice(names)
            wanted.append(Aggregate(function, column, f"{function.value}({at})"))
        output = [*by, *(each.label for each in wanted)]
        dice.shuffle(output)
        order = tuple(self.order_term(dice.choice(output)) for _ in range(dice.randrange(3)))
        skip, limit = dice.choice(SKIPS), dice.choice(LIMITS)
        return Group(self.schema.name, by, tuple(wanted), tuple(output), self.filter(), order, skip, limit)

    def query(self) -> Query:
        return self.dice.choice((self.select, self.select, self.select, self.count, self.group))()
