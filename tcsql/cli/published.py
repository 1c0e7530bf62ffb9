"""``tcsql published``: the published queries of the configuration, checked against the tables they ask."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from tcsql.cli.console import console, table_of
from tcsql.cli.options import with_settings
from tcsql.cli.remote import KeyFile, document, server_at
from tcsql.configuration import Effective
from tcsql.engine.database import Database
from tcsql.errors import UnknownTable
from tcsql.http.published import Publications
from tcsql.published.options import published_of
from tcsql.storage.store import Store

_COLUMNS = ("call", "table", "parameters", "state")


@with_settings
def published(
    effective: Effective,
    url: Annotated[str | None, typer.Option(help="ask this running server what it has published")] = None,
    key_file: KeyFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON, with counts of calls")] = False,
) -> None:
    """List the published queries of the configuration file, and check them against the closed store in --data.

    Mistakes are errors, as when the server starts; what has no table yet or no index is told. A running server holds
    its store: name it with --url.
    """
    if url is not None:
        entries = document(server_at(url, key_file), "/status")["published"]
    else:
        entries = _checked(effective)
    if as_json:
        print(orjson.dumps(entries, option=orjson.OPT_INDENT_2).decode())
    elif entries:
        rows = [[_call(each), each["table"], _parameters(each), _state(each)] for each in entries]
        console().print(table_of(_COLUMNS, rows))
    else:
        print("nothing is published")


def _checked(effective: Effective) -> list[dict[str, Any]]:
    publications = Publications(published_of(effective.file, effective.file_name), effective.settings)
    directory = Path(effective.settings.data)
    if not directory.is_dir():
        return publications.status(Database())
    with closing(Store.open(directory)) as store:
        for query in publications.queries.values():
            with suppress(UnknownTable):  # it may come with a source; the state says so
                query.template(store.database)
        return publications.status(store.database)


def _call(entry: Mapping[str, Any]) -> str:
    return str(entry["path"])


def _parameters(entry: Mapping[str, Any]) -> str:
    return ", ".join(entry["parameters"])


def _state(entry: Mapping[str, Any]) -> str:
    if not entry["ready"]:
        return str(entry["why"])
    return "scans: no index serves it" if entry["scans"] else "ready"
