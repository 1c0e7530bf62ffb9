"""What ``/status`` and ``/sources`` say of a follower, as plain figures."""

from __future__ import annotations

from typing import Final

from tcsql.replication.follower import Follower

#: Phases of a copy in the words of an operator.
_PHASES: Final = {"done": "following", "copy": "copying", "ask": "counting", "sweep": "sweeping"}


def report(follower: Follower, now_s: float) -> dict[str, object]:
    """One source; ``now_s``: ``time.monotonic()``."""
    return {
        "name": follower.name,
        "mode": follower.settings.mode,
        "state": follower.state,
        **({"reason": follower.reason, "hint": follower.remedy} if follower.reason else {}),
        "server": None if follower.identity is None else follower.identity._asdict(),
        "age_ms": follower.age_ms(now_s),
        "lag_ms": follower.lag_ms,
        "stale": follower.is_stale(now_s),
        "tables": [_table(follower, table.name) for table in follower.settings.tables],
        "counts": follower.counts.plain(),
        "audit": follower.audit.report(),
        **({} if follower.verification is None else {"verification": follower.verification.report()}),
    }


def _table(follower: Follower, name: str) -> dict[str, object]:
    position = follower.position.tables.get(name)
    blocked = follower.blocked.get(name)
    found = follower.tables.get(name)
    state = "blocked" if blocked else "unknown" if position is None else position.phase.value
    return {
        "table": name,
        "state": _PHASES.get(state, state),
        **({"problem": blocked.problem, "remedy": blocked.remedy} if blocked else {}),
        **({} if position is None else {"copied": position.copied}),
        **({} if position is None or not position.beside else {"copied_into": position.beside}),
        **({} if found is None else {"source_rows": found.rows}),
    }
