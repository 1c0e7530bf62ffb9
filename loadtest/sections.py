"""The sections of docs/performance.md from peers.json and the ladder: tables and what they mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.report import number
from loadtest.cells import DISTURBED, SATURATED, Cell, chosen, middle
from loadtest.goals import Judged, of_peak, of_reference, while_writing

_METHOD: Final = Path(__file__).parent / "method.md"
_QUERIES: Final[Mapping[str, str]] = {
    "q1": "`where=pkey:NUMEQ:<random>`, 1 row",
    "q2": "`where=uid:NUMEQ:<random>`, by key backwards, 1 row",
    "q3": "`where=dateline:NUMGE:<random>|idtype:STREQ:<random>`, by key backwards, 10 rows",
    "q4": "the same as `type=count`",
}
_LIMIT_WORDS: Final[Mapping[str, str]] = {
    "503": "were answered 503",
    "closed": "were closed",
    "silence": "got no answer within 10 s",
    "200": "were served",
}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Markdown; the first ``left`` columns are words, the others figures."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * left + "---:|" * (len(heads) - left)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def goals(judged: Sequence[Judged]) -> str:
    """How many are met; the ratios as the matrix they are; the others one by one."""
    measured = [goal for goal in judged if goal.reached is not None]
    met = sum(goal.verdict == "yes" for goal in measured)
    parts = [f"{met} of {len(measured)} goals that were measured are met."]
    matrix = [goal for goal in judged if goal.query]
    if matrix:
        verdicts = {(goal.what, goal.query): _verdict(goal) for goal in matrix}
        queries = dict.fromkeys(goal.query for goal in matrix)
        lines = dict.fromkeys(goal.what for goal in matrix)
        rows = [[what, *(verdicts.get((what, query), "") for query in queries)] for what in lines]
        parts.append(table(("reached (at least)", *queries), rows))
    others = [goal for goal in judged if not goal.query]
    if others:
        parts.append(table(("figure", "at least", "reached", "met"), (goal.cells() for goal in others)))
    return "\n\n".join(parts)


def _verdict(goal: Judged) -> str:
    if goal.reached is None:
        return f"not measured ({goal.goal:g})"
    reached = f"**{goal.reached:.2f}**" if goal.verdict == "yes" else f"{goal.reached:.2f}"
    return f"{reached} ({goal.goal:g}) {goal.verdict}"


def measured_on(section: Mapping[str, Any]) -> str:
    """When, on what, with what."""
    machine, versions = section["machine"], section["versions"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{short(section)} On {machine['cores']} cores of {machine['processor']}, "
        f"{machine['memory_gib']} GiB, {machine['system']}, load {machine['load_average_at_start']} at the start; "
        f"{machine['python']} ({machine['python_built_with']}), {packages}; "
        f"{_plain(versions['nginx'])}, {_plain(versions['redis'])}, {_plain(versions['mariadb'])}, "
        f"asyncmy {versions['asyncmy']}, {_plain(versions['wrk'])}."
    )


def short(section: Mapping[str, Any]) -> str:
    """When, how much, and of which commit."""
    return (
        f"Measured {section['started']}: {section['rows']:,} rows, {_rounds(section)} of {section['seconds']:g} s a "
        f"cell, commit `{section['machine']['commit']}`."
    )


def _rounds(section: Mapping[str, Any]) -> str:
    """How many rounds there really are, whatever was asked for."""
    there = len({cell["round"] for cell in section["cells"]})
    return f"{there} round" if there == 1 else f"{there} rounds"


def _plain(version: str) -> str:
    """What a program says of its version, without builds and dates.

    >>> _plain("Redis server v=7.0.15 sha=00000000:0"), _plain("nginx version: nginx/1.22.1")
    ('Redis 7.0.15', 'nginx 1.22.1')
    >>> _plain("/usr/sbin/mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian"), _plain("wrk debian/4.1.0-3 [epoll]")
    ('MariaDB 10.11.19', 'wrk 4.1.0')
    """
    names = {"nginx": "nginx", "redis": "Redis", "mariadb": "MariaDB", "wrk": "wrk"}
    name = next((shown for word, shown in names.items() if word in version.lower()), "")
    numbers = next((word for word in version.replace("=", " ").replace("/", " ").split() if word[0].isdigit()), version)
    return f"{name} {numbers.partition('-')[0]}".strip()


def method(section: Mapping[str, Any]) -> str:
    bodies = section["stacks"].get("constant", {}).get("body_bytes", {})
    sizes = ", ".join(f"{query} {size}" for query, size in bodies.items())
    return _METHOD.read_text(encoding="utf-8").format(
        rows=f"{section['rows']:,}",
        queries=table(
            ("query", "what it asks for"),
            ((query, words.replace("|", "\\|")) for query, words in _QUERIES.items()),
            left=2,
        ),
        sizes=sizes,
        built=_built(section),
        measured_on=measured_on(section),
    )


def _built(section: Mapping[str, Any]) -> str:
    """What our fast lane did to its indexes during the warm-up."""
    facts = section["stacks"].get("fast", {})
    built = facts.get("built_itself")
    if built is None:
        return ""
    took = f"in {facts['warm_up_s']:.0f} s of warming up under load"
    given = ", ".join(f"`({columns})`" for columns in facts.get("was_given", ()))
    rest = f" It missed {given}, which it would have built later, and was given it." if given else ""
    return f" It built {', '.join(f'`{index}`' for index in built) or 'no index'} by itself {took}.{rest}"


def rates(section: Mapping[str, Any], connections: int) -> str:
    """Requests a second and latencies of all stacks, at one number of connections."""
    cells, queries = section["cells"], list(section["queries"])
    heads = ["stack", *(f"{query}: 1/s (p50, p99 ms)" for query in queries), "memory, MiB"]
    rows = []
    for name, about in section["stacks"].items():
        own = [chosen(cells, stack=name, connections=connections, query=query) for query in queries]
        memory = max((cell["resident_bytes"] for group in own for cell in group), default=0)
        rows.append([about["title"], *map(_rate, own), f"{memory / 2**20:,.0f}"])
    return table(heads, rows)


def _rate(cells: Sequence[Cell]) -> str:
    if not cells:
        return "void"
    early, late = middle(cells, "p50_ms"), middle(cells, "p99_ms")
    assert early is not None
    assert late is not None
    busy = " *" if all(cell["generator_core"] >= SATURATED for cell in cells) else ""
    return f"{_of(middle(cells))} ({_ms(early)}, {_ms(late)}){busy}"


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _of(value: float | None) -> str:
    return "" if value is None else number(value)


def ratios(section: Mapping[str, Any], connections: int) -> str:
    """Our two lanes as multiples of every peer."""
    cells, queries = section["cells"], list(section["queries"])
    rows = []
    for subject in ("fast", "slow"):
        for name, about in section["stacks"].items():
            if name == subject or subject not in section["stacks"] or (subject == "slow" and name == "fast"):
                continue
            values = [of_reference(cells, query, connections, name, subject) for query in queries]
            title = f"{section['stacks'][subject]['title']} / {about['title']}"
            rows.append([title, *("" if value is None else f"{value:.2f}" for value in values)])
    return table(["ratio", *queries], rows)


def void_cells(section: Mapping[str, Any]) -> str:
    void = [cell for cell in section["cells"] if cell["void"]]
    disturbed = sum(cell["others_core"] > DISTURBED for cell in section["cells"])
    quiet = (
        f"In {disturbed:,} of {len(section['cells']):,} cells other programs took more than {DISTURBED:.0%} of a core."
    )
    if not void:
        return f"No cell was void. {quiet}"
    rows = []
    for cell in void:
        errors = ", ".join(f"{name} {count:,}" for name, count in cell["errors"].items() if count) or "no answer at all"
        where = (str(cell["round"] + 1), f"{cell['connections']:,}", cell["query"])
        rows.append([section["stacks"][cell["stack"]]["title"], *where, f"{cell['requests']:,}", errors])
    heads = ("stack", "round", "connections", "query", "requests", "errors")
    return f"{quiet} Void cells:\n\n" + table(heads, rows)


def writes(section: Mapping[str, Any]) -> str:
    rows = []
    for name, about in section["stacks"].items():
        for cores in (1, 2):
            own = chosen(section["cells"], stack=name, cores=cores)
            if own:
                where = "its own core" if cores == 1 else "both cores, shared with the generator"
                values = [middle(own, key) for key in ("p50_ms", "p99_ms", "server_core", "generator_core")]
                rows.append([about["title"], where, _of(middle(own)), *map(_of, values)])
    heads = ("stack", "on", "rows/s", "p50 ms", "p99 ms", "cores used", "generator")
    return (
        "64 keep-alive connections that each insert one row a request; the answer comes after the row is on disk "
        "(TCSQL: `durability = always`; MariaDB: `innodb_flush_log_at_trx_commit=1`). Afterwards the table is asked: "
        "it had grown by every row that was acknowledged. The table has its three indexes and all rows of above.\n\n"
        + table(heads, rows, left=2)
        + f"\n\n{short(section)}"
    )


def mixed(section: Mapping[str, Any]) -> str:
    cells, rows = section["cells"], []
    for query in ("q1", "q2", "q3"):
        plain = chosen(cells, query=query, writes="none")
        for pace, words in (("single", "2,000 requests/s of 1 row"), ("batches", "20 requests/s of 100 rows")):
            own = chosen(cells, query=query, writes=pace)
            share = while_writing(cells, query, pace)
            written = [cell["written"]["per_s"] for cell in own]
            longest = max((cell["written"]["longest_ms"] for cell in own), default=0)
            figures = [_of(middle(plain)), _of(middle(own)), "" if share is None else f"{share:.2f}"]
            rows.append([query, words, *figures, f"{min(written, default=0):,.0f}", _ms(longest)])
    heads = ("query", "writes", "1/s without", "1/s with", "ratio", "rows/s really written", "slowest write ms")
    return (
        "100 connections read from the fast lane while a second generator writes new rows at a steady pace, beside the "
        "same without writes in the same round. Both generators share core 1, and the writer needs a part of it.\n\n"
        + table(heads, rows, left=2)
        + f"\n\n{short(section)}"
    )


def overload(section: Mapping[str, Any]) -> Iterator[str]:
    """Paragraphs and tables."""
    cells = section["cells"]
    yield ("**More connections** (closed loop: q1, every connection asks again when it is answered).")
    rows = []
    for factor in sorted({cell["factor"] for cell in cells if cell["kind"] == "connections"}):
        own = chosen(cells, kind="connections", factor=factor)
        share = of_peak(cells, "connections", factor)
        if own and share is not None:
            rows.append([f"{factor}x", f"{own[0]['connections']:,}", _rate(own), f"{share:.2f}"])
    yield table(("load", "connections", "1/s (p50, p99 ms)", "of the peak"), rows)
    yield (
        "**More requests than can be answered** (open loop: clients come at a given rate whatever happens, wait 1 s "
        "at most, then close and count as late; the query costs the server about 1 ms, since no generator on one "
        "core can offer eight times the rate of q1). Capacity is measured right before, by 64 connections that wait "
        "for each answer. The last line is the recovery, right after 8x."
    )
    yield (
        "What happens there: reads stand in line for their turn, and turns of the event loop are kept to a few "
        "milliseconds of work, so every request is looked at soon after it came. If the line is then longer than "
        "0.2 s of work, by what reads have cost lately, the request is refused at once, and the line is kept to 10 ms "
        "until next to nothing is refused: good answers come soon, and refusals sooner. New connections are refused "
        "at the door, unread, while those that are open have work. So a refusal costs little, and what is left of "
        "the core goes into answers."
    )
    yield table(
        (
            "offered",
            "requests/s offered",
            "good/s",
            "of the peak",
            "late",
            "refused",
            "not sent",
            "p99 good ms",
            "p99 refused ms",
        ),
        _offered(cells),
    )
    if (limit := section.get("limit")) is not None:
        outcomes = ", ".join(
            f"{count:,} {_LIMIT_WORDS.get(outcome, 'were answered ' + outcome)}"
            for outcome, count in limit["outcomes"].items()
        )
        times = ""
        if limit["refused_p50_ms"] is not None:
            times = f", in {limit['refused_p50_ms']} ms (median; 99 %: {limit['refused_p99_ms']} ms)"
        yield (
            f"**More connections than are allowed.** With `max_connections = {limit['allowed']:,}` all taken and "
            f"answered once ({limit['existing_answered_before']:,} answers), {limit['past_limit']:,} more came: "
            f"{outcomes}{times}. Then the first ones asked again: {limit['existing_answered_after']:,} of "
            f"{limit['allowed']:,} were answered."
        )
    yield short(section)


def _offered(cells: Sequence[Cell]) -> Iterator[Sequence[str]]:
    places = sorted({(cell["place"], cell["factor"]) for cell in cells if cell["kind"] == "offered"})
    for place, factor in places:
        own = chosen(cells, kind="offered", place=place)
        share = [_peak_share(cells, cell) for cell in own]
        means = [
            middle([{"per_s": cell[key] / cell["seconds"]} for cell in own]) for key in ("late", "refused", "unsent")
        ]
        times = [
            middle([cell for cell in own if cell[key] is not None], key) for key in ("good_p99_ms", "refused_p99_ms")
        ]
        offered = middle([{"per_s": cell["offered"] / cell["seconds"]} for cell in own])
        shown = [_of(offered), _of(middle(own)), f"{sorted(share)[len(share) // 2]:.2f}"]
        yield [
            f"{factor:g}x",
            *shown,
            *(f"{_of(mean)}/s" for mean in means),
            *("" if t is None else _ms(t) for t in times),
        ]


def _peak_share(cells: Sequence[Cell], cell: Cell) -> float:
    peak = max(other["per_s"] for other in cells if other["kind"] == "offered" and other["round"] == cell["round"])
    return float(cell["per_s"] / peak) if peak else 0.0


def ladder(results: Mapping[str, Any]) -> str:
    """Where the microseconds go: steps as they were measured, one column for each thing that was noted."""
    steps = results["steps"]
    heads = list(dict.fromkeys(key for step in steps for key in step))
    rows = ([_cell(step.get(head)) for head in heads] for step in steps)
    about = f"{results['about']}\n\n" if results.get("about") else ""
    after = f"\n\n{results['conclusion']}" if results.get("conclusion") else ""
    return about + table(heads, rows) + after


def _cell(value: object) -> str:
    if value is None:
        return ""
    return number(float(value)) if isinstance(value, int | float) else str(value)
