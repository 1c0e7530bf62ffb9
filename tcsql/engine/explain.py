"""``command=explain``: what the planner knew and chose, as JSON a person can read, and the index that would help."""

from __future__ import annotations

from tcsql.engine import cost
from tcsql.engine.conditions import type_of
from tcsql.engine.executor import Executor, conjunctions_of
from tcsql.engine.order import Order, is_natural
from tcsql.engine.planner import Access
from tcsql.engine.query import Condition, Conjunction, Query, Select
from tcsql.engine.spans import POINTS, can_span
from tcsql.engine.table import Table
from tcsql.engine.textindex import SERVED


def explain(executor: Executor, query: Query) -> dict[str, object]:
    """Describe an executed query. Cost: planning it once more."""
    table = executor.table
    order = Order(table.schema, query.order if isinstance(query, Select) else ())
    need = query.skip + query.limit + 1 if isinstance(query, Select) else len(table)
    alternatives = []
    for conjunction in conjunctions_of(query.where):
        accesses = executor.planner.accesses(conjunction, order)
        if isinstance(query, Select):
            cost.choose(accesses, order, need, len(table))
        else:
            for access in accesses:
                access.cost = 0.0 if access.exact else float(access.size)
        matches = cost.estimate_matches(accesses, len(table))
        exact = cost.exact_size(accesses)
        alternatives.append(
            {
                "where": [_condition(condition) for condition in conjunction],
                "matches": {"estimated": round(matches), "exact": exact},
                "accesses": [_access(table, access) for access in sorted(accesses, key=lambda a: a.cost)],
            }
        )
    work = executor.work
    return {
        "table": table.schema.name,
        "rows": len(table),
        "chosen": [_access(table, access) for access in work.chosen],
        "rows_examined": work.examined,
        "alternatives": alternatives,
        "advice": advice(table, query) if work.examined > 10 * max(1, need) and work.examined > 1_000 else None,
    }


def _condition(condition: Condition) -> str:
    negation = "~" if condition.negated else ""
    return f"{condition.column or 'pkey'}:{negation}{condition.operator.value}:{condition.operand}"


def _access(table: Table, access: Access) -> dict[str, object]:
    index = access.index
    return {
        "index": index.definition.name,
        "columns": list(index.definition.columns or table.schema.primary_key),
        "equal": list(access.equal),
        "range": access.span,
        "runs": sum(len(stream.runs) for stream in access.streams),
        "rows_in_runs": access.size,
        "exact": access.exact,
        "gives_order": access.ordered,
        "backwards": access.ordered and access.reverse,
        "left_to_test": [_condition(condition) for condition in access.residual],
        "cost": round(access.cost, 1),
    }


def advice(table: Table, query: Query) -> str | None:
    """The index that would serve the query, as a statement; None when no ordered index can."""
    schema = table.schema
    terms = Order(schema, query.order).terms if isinstance(query, Select) else ()
    best: list[str] = []
    for conjunction in conjunctions_of(query.where):
        columns = _equal_columns(table, conjunction)
        if terms and all(is_natural(schema, term) for term in terms):
            columns += [term.column for term in terms if term.column is not None]
        columns += _range_columns(table, conjunction)
        columns = list(dict.fromkeys(columns))
        if len(columns) > len(best):
            best = columns
    declared = [list(index.columns) for index in schema.indexes if not index.fulltext]
    if not best or any(columns[: len(best)] == best for columns in declared):
        text = _text_column(query)
        return f"CREATE FULLTEXT INDEX {text}_text ON {schema.name} ({text})" if text else None
    return f"CREATE INDEX {'_'.join(best)[:64]} ON {schema.name} ({', '.join(best)})"


def _equal_columns(table: Table, conjunction: Conjunction) -> list[str]:
    return [c.column for c in conjunction if c.column and c.operator in POINTS and _spans(table, c)]


def _range_columns(table: Table, conjunction: Conjunction) -> list[str]:
    return [c.column for c in conjunction if c.column and c.operator not in POINTS and _spans(table, c)][:1]


def _spans(table: Table, condition: Condition) -> bool:
    kind = type_of(table.schema, condition.column)
    return kind is not None and can_span(condition.operator, condition.negated, kind)


def _text_column(query: Query) -> str | None:
    for conjunction in query.where.any_of:
        for c in conjunction:
            if c.column and not c.negated and c.operator in SERVED:
                return c.column
    return None
