"""``tcsql query`` and ``tcsql explain``: one read, from a running server or from a closed store."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from tcsql.cli.console import console, table_of
from tcsql.cli.plan import plan_of
from tcsql.cli.remote import HERE, KeyFile, Server, Url, get, query_string, server_at
from tcsql.errors import BadRequest
from tcsql.http import render
from tcsql.http.grammar import Grammar, ReadRequest
from tcsql.http.parameters import of_query
from tcsql.storage.store import Store

Parameters = Annotated[
    str,
    typer.Argument(help="the query string, for example 'where=uid:NUMEQ:5&order_by=dateline'", show_default=False),
]
Table = Annotated[str | None, typer.Option("--table", "-t", help="the table; the same as table= in the query")]
Data = Annotated[Path | None, typer.Option(help="read the closed store in this directory instead")]


def query(
    parameters: Parameters = "",
    table: Table = None,
    url: Url = HERE,
    data: Data = None,
    *,
    key_file: KeyFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="the reply as it is")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="the rows as CSV, NULL as nothing")] = False,
) -> None:
    """Run a select and print an aligned table with the total."""
    body = _answer("select", parameters, table, data, lambda: server_at(url, key_file))
    if as_json:
        print(body.decode())
        return
    reply: dict[str, Any] = json.loads(body)
    if "count" in reply:
        reply = {"rows": [reply]}
    rows: list[dict[str, object]] = reply["rows"]
    columns = list(rows[0]) if rows else []
    values = [list(row.values()) for row in rows]
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([columns, *values] if columns else [])
        return
    if columns:
        console().print(table_of(columns, values))
    print(_summary(reply))


def _summary(reply: Mapping[str, Any]) -> str:
    shown = len(reply["rows"])
    if "total" not in reply:
        return f"{shown} row"
    total = reply["total"]
    text = f"{shown} of {total} rows" if total is not None else f"{shown} rows (total=1 counts all of them)"
    return f"{text}; next page: after={reply['next']}" if reply.get("next") else text


def explain(
    parameters: Parameters = "",
    table: Table = None,
    url: Url = HERE,
    data: Data = None,
    *,
    key_file: KeyFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="the reply as it is")] = False,
) -> None:
    """Show how a select is answered: the chosen run, the alternatives with their sizes, rows examined."""
    body = _answer("explain", parameters, table, data, lambda: server_at(url, key_file))
    if as_json:
        print(body.decode())
        return
    for part in plan_of(json.loads(body)):
        console().print(part)


def _answer(command: str, parameters: str, table: str | None, data: Path | None, server: Callable[[], Server]) -> bytes:
    """The body of the reply."""
    parts: Sequence[str] = [f"command={command}", *([f"table={table}"] if table else []), parameters]
    text = query_string("&".join(part for part in parts if part))
    if data is not None:
        return _answer_from_store(text, data)
    with get(server(), "/", text) as answer:
        return answer.read()


def _answer_from_store(text: bytes, data: Path) -> bytes:
    with closing(Store.open(data)) as store:
        request = Grammar(store.database).request(of_query(text))
        if not isinstance(request, ReadRequest):
            raise BadRequest("only reads work on a closed store", "start the server for writes: tcsql serve")
        if request.explain:
            return render.document(store.explain_now(request.query))
        return render.result(store.query(request.query), request.bigint_text)
