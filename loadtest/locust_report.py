"""The load test in words: the section of docs/performance.md, from the content of locust.json. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def section(results: Mapping[str, Any]) -> str:
    """The Markdown of the section."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    machine = results["machine"]
    scenarios = results["scenarios"]
    wrong = sum(scenario["all"]["failed"] for scenario in scenarios)
    answers = sum(scenario["all"]["answers"] for scenario in scenarios)
    yield (
        "## Ten thousand users by locust" if results["users"] == 10_000 else f"## {results['users']:,} users by locust"
    )
    yield ""
    yield (
        f"`make loadtest`: {results['users']:,} users, all connected before the first is asked anything (counted in "
        f"/proc/net/tcp), ask the four queries in equal parts on {results['rows']:,} rows; every reply is judged. "
        f"**{answers:,} replies, {wrong:,} of them wrong or missing.** A generator written in Python is used up long "
        "before the server: this shows that so many connections are served without an error, not how fast the server "
        "is. Only *paced* leaves the generator time to spare, so that its latencies are mostly the server's."
    )
    yield ""
    yield (
        f"Measured {results['started']}; locust {machine['locust']}, server on core 0, "
        f"{_count(results['generator_processes'], 'generator process')} beside it; commit `{machine['commit']}`."
    )
    yield ""
    yield "| scenario | query | requests/s | p50 | p99 | failed |"
    yield "|---|---|---:|---:|---:|---:|"
    for scenario in scenarios:
        for query, found in {**scenario["queries"], "all": scenario["all"]}.items():
            times = f"{_ms(found['p50_ms'])} | {_ms(found['p99_ms'])}"
            yield f"| {scenario['scenario']} | {query} | {found['per_s']:,.0f} | {times} | {found['failed']:,} |"
    yield ""
    yield "| scenario | what | connected before | under load | opened anew | generator | server |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for scenario in scenarios:
        under = scenario["connected_under_load"]
        own = ", ".join(f"{share:.0%}" for share in scenario["generator_core"])
        limit = " (the limit)" if scenario["generator_was_the_limit"] else ""
        yield (
            f"| {scenario['scenario']} | {scenario['what']} | {scenario['connected_before_load']:,} "
            f"| {under['least']:,} to {under['most']:,} | {scenario['connections_opened_under_load']:,} "
            f"| {own} of a core{limit} | {scenario['server_core']:.0%} of a core |"
        )


def _count(number: int, noun: str) -> str:
    return f"one {noun}" if number == 1 else f"{number} {noun}es"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f} ms" if value < 10 else f"{value:,.0f} ms"
