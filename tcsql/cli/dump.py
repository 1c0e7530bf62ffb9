"""``tcsql dump``: tables as NDJSON or as SQL, from a running server or a closed store. What it writes loads back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from tcsql.cli.files import Writable, output_file
from tcsql.cli.remote import HERE, OF_SETTINGS, KeyFile, server_at
from tcsql.cli.targets import ServerTarget, StoreTarget, Target
from tcsql.engine.schema import TableSchema
from tcsql.errors import SetupError, UnknownTable, did_you_mean
from tcsql.formats.ndjson import ndjson_lines
from tcsql.formats.sqldump import FOOTER, HEADER, insert_statements, table_head
from tcsql.sql import create_table_sql


def dump(
    *,
    table: Annotated[list[str] | None, typer.Option("--table", "-t", help="a table to dump (default: all)")] = None,
    format: Annotated[str | None, typer.Option(help="sql or ndjson (default: by the file's name, else sql)")] = None,  # noqa: A002  # the option's name
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="the file to write, also .gz and .zst (default: standard output)"),
    ] = None,
    drop_tables: Annotated[
        bool, typer.Option("--drop-tables", help="write DROP TABLE IF EXISTS before each table")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="replace an existing file")] = False,
    data: Annotated[Path | None, typer.Option(help="dump the closed store in this directory")] = None,
    url: Annotated[str, typer.Option(help=f"dump this running server ({OF_SETTINGS})", show_default=False)] = HERE,
    key_file: KeyFile = None,
) -> None:
    """Write tables as SQL, which MySQL loads too, or one table as NDJSON.

    A running server is read page by page while others may write; tcsql backup takes all of one moment.
    """
    format_ = format or ("ndjson" if output and (".ndjson" in output or ".jsonl" in output) else "sql")
    if format_ not in ("sql", "ndjson"):
        raise SetupError(f"there is no format {format_}", "formats are sql and ndjson")
    if data is not None and not data.is_dir():
        raise SetupError(f"there is no directory {data}")
    target: Target = StoreTarget(data) if data is not None else ServerTarget(server_at(url, key_file))
    with closing(target):
        schemas = _chosen(target.schemas(), table or [])
        if format_ == "ndjson" and len(schemas) != 1:
            names = ", ".join(schema.name for schema in schemas)
            raise SetupError("NDJSON holds one table", f"name one with --table: {names}")
        with output_file(output, force) as out:
            if format_ == "sql":
                _write_sql(target, schemas, out, drop_tables)
            else:
                for line in ndjson_lines(target.rows(schemas[0])):
                    out.write(line)


def _chosen(schemas: list[TableSchema], names: Sequence[str]) -> list[TableSchema]:
    by_name = {schema.name: schema for schema in schemas}
    for name in names:
        if name not in by_name:
            raise UnknownTable(f"there is no table {name}", did_you_mean(name, by_name))
    return [by_name[name] for name in names] or schemas


def _write_sql(target: Target, schemas: Sequence[TableSchema], out: Writable, drop_tables: bool) -> None:
    out.write(HEADER)
    for schema in schemas:
        out.write(table_head(create_table_sql(schema, for_values=True), schema.name, drop_tables))
        for statement in insert_statements(schema, target.rows(schema)):
            out.write(statement)
    out.write(FOOTER)
