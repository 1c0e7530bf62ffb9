"""``tcsql mysql status, verify, recopy, accept``: what a running server follows, asked and told over HTTP.

A verification goes on in the server whether or not somebody watches it: an interrupted command stops nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, Protocol
from urllib.parse import quote

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tcsql.cli.console import console, safe, table_of
from tcsql.cli.mysql import mysql
from tcsql.cli.remote import HERE, KeyFile, Refused, Server, Url, document, server_at

__all__ = ["mysql"]

Source = Annotated[str, typer.Argument(help="the source's name, as in tcsql.toml", show_default=False)]
Table = Annotated[str | None, typer.Option("--table", "-t", help="this table alone", show_default=False)]

_LOOK_S: Final = 0.2
_LINE_S: Final = 5.0
_KINDS: Final = {"missing": "not here", "extra": "not at the source", "different": "other values"}


# -- status ------------------------------------------------------------------------------------------------------------


@mysql.command()
def status(
    url: Url = HERE,
    *,
    key_file: KeyFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="the reply as it is")] = False,
) -> None:
    """Show what a running server follows: states, age of the data, rows copied, what is in the way."""
    sources: list[dict[str, Any]] = document(server_at(url, key_file), "/sources")
    if as_json:
        print(orjson.dumps(sources, option=orjson.OPT_INDENT_2).decode())
        return
    if not sources:
        print("no source: write [source.NAME] into tcsql.toml")
        return
    heads = ("source", "mode", "state", "age", "stale", "changes", "differ", "server")
    console().print(table_of(heads, [_source_row(source) for source in sources]))
    rows = [
        (source["name"], table["table"], table["state"], table.get("copied"), table.get("source_rows"))
        for source in sources
        for table in source["tables"]
    ]
    console().print(table_of(("source", "table", "state", "copied", "rows there, about"), rows))
    for source in sources:
        if source.get("reason"):
            _say_problem(source["name"], source["reason"], source.get("hint"))
        for table in source["tables"]:
            if table.get("problem"):
                _say_problem(f"{source['name']}.{table['table']}", table["problem"], table.get("remedy"))


def _source_row(source: Mapping[str, Any]) -> Sequence[object]:
    server, counts = source.get("server") or {}, source["counts"]
    return (
        source["name"],
        source["mode"],
        source["state"],
        _age(source["age_ms"]),
        "yes" if source["stale"] else "no",
        counts["events"],
        counts["differences"],
        f"{server['flavour']} {server['version'].partition('-')[0]}" if server else None,
    )


def _age(age_ms: int | None) -> str:
    """An age for people.

    >>> [_age(age) for age in (None, 7, 1_500, 7_260_000)]
    ['unknown', '7 ms', '1.5 s', '121 min']
    """
    if age_ms is None:
        return "unknown"
    if age_ms < 1_000:
        return f"{age_ms} ms"
    return f"{age_ms / 1_000:.1f} s" if age_ms < 300_000 else f"{age_ms // 60_000} min"


def _say_problem(where: str, problem: str, remedy: str | None) -> None:
    print(f"{safe(where)}: {safe(problem)}" + (f" ({safe(remedy)})" if remedy else ""))


# -- verify ------------------------------------------------------------------------------------------------------------


@mysql.command()
def verify(
    source: Source,
    table: Table = None,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="write the source's rows where they differ")] = False,
    url: Url = HERE,
    key_file: KeyFile = None,
) -> None:
    """Compare every row with the source, at one state of both, and name those that differ. Readers are not disturbed.

    Exit code 1 when rows differ and were not repaired. The first thousand of a table are named, the rest is counted.
    """
    server = server_at(url, key_file)
    state = _act(server, source, "repair" if repair else "verify", table)
    about = sum(each.get("source_rows", 0) for each in state["tables"] if table in (None, each["table"]))
    with _progress(f"verifying {source}", about) as progress:
        while state["verification"]["state"] == "running":
            time.sleep(_LOOK_S)
            state = document(server, _path(source))
            progress.update(state["verification"]["rows"])
    found: dict[str, Any] = state["verification"]
    if found["named"]:
        rows = [
            (row["table"], row["pkey"], row["kind"], ", ".join(row["columns"]) or _KINDS[row["kind"]])
            for row in found["named"]
        ]
        console().print(table_of(("table", "key", "row is", "what"), rows))
    unnamed = found["differing"] - len(found["named"])
    if unnamed > 0:
        print(f"and {unnamed} more")
    if found["state"] != "done":
        raise Refused(f"the verification was broken off: {found['failure']}", "run it again")
    verdict = "all are equal" if not found["differing"] else f"{found['differing']} differ"
    repaired = ", repaired" if found["differing"] and repair else ""
    print(f"{source}: {found['rows']} rows of {', '.join(map(safe, found['tables']))}: {verdict}{repaired}")
    left_out = [
        each for each in state["tables"] if table in (None, each["table"]) and each["table"] not in found["tables"]
    ]
    for each in left_out:
        _say_problem(
            f"{source}.{each['table']} was not compared", each.get("problem", each["state"]), each.get("remedy")
        )
    if left_out or (found["differing"] and not repair):
        raise typer.Exit(1)


class _Shown(Protocol):
    def update(self, rows: int) -> None: ...


class _Bar:
    def __init__(self, bar: Progress, text: str, total: int) -> None:
        self._bar, self._task = bar, bar.add_task(text, total=total or None)

    def update(self, rows: int) -> None:
        self._bar.update(self._task, completed=rows)


class _Lines:
    """Where there is no terminal: a line now and then."""

    def __init__(self, text: str, total: int) -> None:
        self._text, self._total, self._shown_s = text, total, time.monotonic()

    def update(self, rows: int) -> None:
        now = time.monotonic()
        if now - self._shown_s >= _LINE_S:
            self._shown_s = now
            print(f"{self._text}: {rows:,} of about {self._total:,} rows", file=sys.stderr, flush=True)


@contextmanager
def _progress(text: str, total: int) -> Iterator[_Shown]:
    """Progress on standard error; ``total``: the source's estimate."""
    if not sys.stderr.isatty():
        yield _Lines(text, total)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, markup=False, highlight=False), transient=True) as bar:
        yield _Bar(bar, text, total)


# -- recopy, accept ----------------------------------------------------------------------------------------------------


@mysql.command()
def recopy(source: Source, table: Table = None, *, url: Url = HERE, key_file: KeyFile = None) -> None:
    """Copy tables anew, beside the rows that are held and go on answering. Returns at once; status tells how far it is.

    If more than half of the rows would go, nothing is done until accept says yes.
    """
    _act(server_at(url, key_file), source, "recopy", table)
    print(f"{source}: {table or 'every table'} is copied anew; tcsql mysql status tells how far it is")


@mysql.command()
def accept(source: Source, *, url: Url = HERE, key_file: KeyFile = None) -> None:
    """Say yes to what a source asks: another server behind the url, or more than half of the rows going."""
    server = server_at(url, key_file)
    before = document(server, _path(source))
    _act(server, source, "accept", None)
    asks = "tcsql mysql accept" in (before.get("hint") or "")
    print(
        f"{source}: accepted: {safe(before['reason'])}" if asks else f"{source} is {before['state']} and asks nothing"
    )


def _path(source: str) -> str:
    return f"/sources/{quote(source, safe='')}"


def _act(server: Server, source: str, action: str, table: str | None) -> dict[str, Any]:
    about = f"&table={quote(table, safe='')}" if table is not None else ""
    found: dict[str, Any] = document(server, _path(source), f"action={action}{about}".encode(), "POST")
    return found
