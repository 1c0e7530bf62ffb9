"""The reply of ``command=explain`` as people read it: a table of accesses for each conjunction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType

from tcsql.cli.console import safe, table_of


def plan_of(plan: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What to print, in order."""
    yield f"{safe(plan['table'])}: {plan['rows']} rows, {plan['rows_examined']} examined in {plan['time_us']} us"
    chosen = [_spelt(access) for access in plan["chosen"]]
    for alternative in plan["alternatives"]:
        where = " | ".join(alternative["where"]) or "every row"
        matches = alternative["matches"]
        size = f"{matches['exact']}" if matches["exact"] is not None else f"about {matches['estimated']}"
        yield f"\n{safe(where)}: {size} rows"
        rows = [_row(access, _spelt(access) in chosen) for access in alternative["accesses"]]
        yield table_of(list(rows[0]), [list(row.values()) for row in rows]) if rows else "no index answers it"
    for access in plan["chosen"]:
        for why in access["why"]:
            yield f"\n{safe(access['index'])} was built by itself: {safe(why)}"
    if plan["advice"]:
        yield f"\nadvice: {safe(plan['advice'])}"


def _row(access: Mapping[str, Any], is_chosen: bool) -> dict[str, object]:
    return {
        "": "chosen" if is_chosen else "",
        "index": f"{access['index']} ({', '.join(access['columns'])})",
        "equal": ", ".join(access["equal"]),
        "range": access["range"] or "",
        "rows in run": access["rows_in_runs"],
        "gives the order": ("backwards" if access["backwards"] else "yes") if access["gives_order"] else "",
        "left to test": " | ".join(access["left_to_test"]),
        "cost": access["cost"],
    }


def _spelt(access: Mapping[str, Any]) -> str:
    """What makes two accesses the same run."""
    return repr([access[name] for name in ("index", "equal", "range", "rows_in_runs", "left_to_test")])
