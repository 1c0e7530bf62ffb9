"""The command line: ``tcsql COMMAND``. Every error is one line on standard error, with a documented exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from tcsql import __version__
from tcsql.cli.config import config
from tcsql.cli.demo import demo
from tcsql.cli.dump import dump
from tcsql.cli.key import key
from tcsql.cli.load import load
from tcsql.cli.mysql_server import mysql
from tcsql.cli.published import published
from tcsql.cli.query import explain, query
from tcsql.cli.reload import reload
from tcsql.cli.serve import serve
from tcsql.cli.store import backup, check, upgrade
from tcsql.errors import SetupError, TCSQLError

EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 the request or the data was refused; 2 the surroundings are in the way "
    "(port, directory, lock, configuration, command line, no server); 3 what is in the store (damaged, newer, "
    "another schema); 130 interrupted."
)

app = typer.Typer(
    name="tcsql",
    help="TCSQL: a real-time list cache for MySQL.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (serve, load, dump, query, explain, check, backup, upgrade, published, reload, config, demo):
    app.command(epilog=EXIT_CODES)(command)
app.add_typer(key, epilog=EXIT_CODES)
app.add_typer(mysql, epilog=EXIT_CODES)


@app.command(epilog=EXIT_CODES)
def version() -> None:
    """Print the version."""
    print(f"tcsql {__version__}")


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def _top(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """TCSQL: a real-time list cache for MySQL."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        code = app(arguments, prog_name="tcsql", standalone_mode=False)
    except TCSQLError as error:
        return _fail(error.message, error.hint, error.exit_code)
    except typer.TyperException as error:  # a wrong command line
        return _fail(error.format_message(), "see tcsql --help", SetupError.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", None, 130)
    except BrokenPipeError:  # head(1) has read enough; nobody is left to be told
        sys.stderr.close()
        return 0
    return code if isinstance(code, int) else 0


def _fail(message: str, hint: str | None, code: int) -> int:
    line = f"{message} ({hint})" if hint else message
    print("tcsql:", " ".join(line.split()), file=sys.stderr)
    return code
