"""``command=explain``: what the planner knew and chose, as JSON a person can read, and the index that would help."""

from __future__ import annotations

from tcsql.engine import cost
from tcsql.engine.advisor import advice_for, wanted_columns
from tcsql.engine.executor import Executor, conjunctions_of
from tcsql.engine.order import Order
from tcsql.engine.planner import Access
from tcsql.engine.query import Condition, Query, Select
from tcsql.engine.table import Table


def explain(executor: Executor, query: Query) -> dict[str, object]:
    """Describe an executed query. Cost: planning it once more."""
    table = executor.table
    order = Order(table.schema, query.order if isinstance(query, Select) else ())
    need = query.skip + query.limit + 1 if isinstance(query, Select) else len(table)
    alternatives = []
    for conjunction in conjunctions_of(query.where):
        accesses = executor.planner.accesses(conjunction, order)
        if isinstance(query, Select):
            cost.choose(accesses, order, need, table)
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
        "by_blocks": access.by_blocks,
        "within_keys_of": access.within.index.definition.name if access.within else None,
        "left_to_test": [_condition(condition) for condition in access.residual],
        "cost": round(access.cost, 1),
        "automatic": index.definition.automatic,
        "why": list(index.definition.notes) if index.definition.automatic else [],
    }


def advice(table: Table, query: Query) -> str | None:
    """What would make the query cheaper: an index as a statement, or that it is under way; None: nothing known."""
    schema = table.schema
    building = [each for each in schema.indexes if not table.indexes[each.name].ready]
    if building:
        wanted = wanted_columns(schema.with_(indexes=tuple(i for i in schema.indexes if i not in building)), query)
        for definition in building:
            if definition.columns == wanted:
                return f"index {definition.name} is being built"
    return advice_for(schema, query)
