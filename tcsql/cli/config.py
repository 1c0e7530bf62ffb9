"""``tcsql config``: the effective settings, where each comes from, and why it is there."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer
from rich.table import Table

from tcsql.cli.console import console
from tcsql.cli.options import with_settings
from tcsql.configuration import Effective, reference
from tcsql.settings import SECTIONS


@with_settings
def config(effective: Effective, as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False) -> None:
    """Print the effective settings with the source and the reason of each."""
    options = [
        {**option, "value": getattr(effective.settings, str(option["name"])), "source": effective.sources[name]}
        for option in reference()
        for name in [str(option["name"])]
    ]
    if as_json:
        print(orjson.dumps(options, option=orjson.OPT_INDENT_2).decode())
        return
    for section in SECTIONS:
        table = Table("name", "value", "unit", "from", "reason", title=f"[{section}]", title_justify="left")
        for option in options:
            if option["section"] == section:
                shown = (option[key] for key in ("name", "value", "unit", "source", "reason"))
                table.add_row(*(str(text).lower() if isinstance(text, bool) else str(text) for text in shown))
        console().print(table)
