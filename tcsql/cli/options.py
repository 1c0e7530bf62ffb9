"""Command-line options that derive from the settings, and the reading of all their sources."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tcsql.configuration import Effective, flag, resolve
from tcsql.errors import SetupError
from tcsql.settings import ENVIRONMENT_PREFIX, OPTIONS

#: Read from the working directory when it is there and no other file is named.
DEFAULT_FILE: Final = "tcsql.toml"
_FILE_VARIABLE: Final = ENVIRONMENT_PREFIX + "CONFIG"


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--config`` and one flag per setting; it is called with the ``Effective`` settings first.

    The flags replace the command's own parameters ``effective`` and ``again``, which reads the same settings anew.
    """
    own = inspect.signature(command, eval_str=True).parameters

    def run(**arguments: Any) -> None:
        flags = {name: arguments.pop(name) for name in OPTIONS}
        again = partial(effective_settings, flags, arguments.pop("config"))
        if "again" in own:
            arguments["again"] = again
        command(again(), **arguments)

    parameters = [parameter for name, parameter in own.items() if name not in ("effective", "again")]
    parameters.append(_parameter("config", "--config", f"configuration file (default: {DEFAULT_FILE} if it exists)"))
    for option in OPTIONS.values():
        about = option.metadata
        unit = f" ({about['unit']})" if about["unit"] else ""
        # In parentheses: square brackets are markup to the help's printer, and vanish.
        default = f" (default: {str(option.default).lower() if isinstance(option.default, bool) else option.default})"
        choices = f": {', '.join(about['choices'])}" if about["choices"] else ""
        text = f"{about['reason']}{unit}{choices}{default if option.default != '' else ''}"
        parameters.append(_parameter(option.name, flag(option.name), text, f"Settings: {about['section']}"))
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    # What typer reads; set by name, because a function's type has no such attribute.
    setattr(run, "__signature__", inspect.Signature(parameters))  # noqa: B010  # the line above says why
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(name: str, spelling: str, text: str, panel: str | None = None) -> inspect.Parameter:
    about = typer.Option(spelling, help=text, rich_help_panel=panel, show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, about]
    )


def effective_settings(flags: dict[str, Any], config: str | None = None) -> Effective:
    """Settings from flags, the environment and the configuration file; raises SetupError."""
    environment = dict(os.environ)
    named = environment.pop(_FILE_VARIABLE, None)
    path = config or named
    if path is None and not Path(DEFAULT_FILE).is_file():
        return resolve(flags, environment)
    file = Path(path or DEFAULT_FILE)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise SetupError(f"cannot read the configuration file {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SetupError(f"{file} is not UTF-8 at byte {error.start}") from None
    return resolve(flags, environment, text, str(file))
