"""What ``tcsql explain`` prints."""

from __future__ import annotations

from tcsql.cli.plan import plan_of


def test_a_plan_says_why_an_automatic_index_is_there() -> None:
    access = {
        "index": "auto_a", "columns": ["a"], "equal": ["a"], "range": None, "runs": 1, "rows_in_runs": 3, "exact": True,
        "gives_order": True, "backwards": False, "left_to_test": [], "cost": 3.0, "automatic": True, "why": ["9 x"],
    }  # fmt: skip
    matches = {"exact": 3, "estimated": 3}
    plan = {
        "table": "t", "rows": 9, "rows_examined": 3, "time_us": 5, "chosen": [access], "advice": None,
        "alternatives": [{"where": ["a:NUMEQ:1"], "matches": matches, "accesses": [access]}],
    }  # fmt: skip
    assert "\nauto_a was built by itself: 9 x" in list(plan_of(plan))
