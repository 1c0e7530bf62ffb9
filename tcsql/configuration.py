"""The effective settings: flag before environment before file before default.

An option ``max_rows`` of section ``limits`` is spelt

    --max-rows 500        on the command line        (first)
    TCSQL_MAX_ROWS=500    in the environment
    [limits]              in tcsql.toml
    max_rows = 500
                          else the default           (last)

What nobody knows (a misspelt key, an unknown TCSQL_ variable) and what does not fit is an error that names its
source; nothing is ignored silently. Pure: files and the environment come in as values.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from typing import Final

from tcsql.errors import SetupError, did_you_mean
from tcsql.settings import ENVIRONMENT_PREFIX, OPTIONS, SECTIONS, Settings, Value

#: Sections of the configuration file that others read: ``tcsql.sources``, ``tcsql.published``.
ELSEWHERE: Final = ("source", "published")
#: Variables of the environment that are no options: where the command line finds a server, and the key it presents.
NO_OPTIONS: Final = ("TCSQL_KEY", "TCSQL_URL")


@dataclass(frozen=True, slots=True)
class Effective:
    """Settings with the source of each: ``default``, ``tcsql.toml``, ``TCSQL_PORT`` or ``--port``."""

    settings: Settings
    sources: Mapping[str, str]
    #: The configuration file: its text (None: there is none) and its name.
    file: str | None = None
    file_name: str = "tcsql.toml"


def resolve(
    flags: Mapping[str, Value | None],
    environment: Mapping[str, str],
    file: str | None = None,
    file_name: str = "tcsql.toml",
) -> Effective:
    """The effective settings: flag before environment before file before default. Raises SetupError.

    ``flags``: None means not given. ``environment``: all of it, only ``TCSQL_`` counts. ``file``: the text of
    tcsql.toml.

    >>> found = resolve({"port": "4000"}, {"TCSQL_PORT": "5000", "TCSQL_MAX_ROWS": "500"})
    >>> found.settings.port, found.settings.max_rows, found.sources["max_rows"]
    (4000, 500, 'TCSQL_MAX_ROWS')
    """
    values: dict[str, Value] = {}
    sources = dict.fromkeys(OPTIONS, "default")
    for name, value, source in (
        *_of_file(file, file_name),
        *_of_environment(environment),
        *((name, value, flag(name)) for name, value in flags.items() if value is not None),
    ):
        values[name] = _read(name, value, source)
        sources[name] = source
    return Effective(Settings(**values), sources, file, file_name)  # type: ignore[arg-type]  # _read gives each field its own type


def flag(name: str) -> str:
    """The command line's spelling of an option.

    >>> flag("max_rows")
    '--max-rows'
    """
    return "--" + name.replace("_", "-")


def _of_environment(environment: Mapping[str, str]) -> Iterable[tuple[str, Value, str]]:
    for variable, text in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in NO_OPTIONS:
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            if name not in OPTIONS or variable != variable.upper():
                known = [ENVIRONMENT_PREFIX + option.upper() for option in OPTIONS]
                raise SetupError(
                    f"unknown environment variable {variable}",
                    did_you_mean(variable, known),
                )
            yield name, text, variable


def _of_file(text: str | None, file_name: str) -> Iterable[tuple[str, Value, str]]:
    if text is None:
        return
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{file_name} is not TOML: {error}") from None
    for section, members in document.items():
        if section in ELSEWHERE:
            continue
        if section not in SECTIONS:
            raise SetupError(f"{file_name} has an unknown section or key {section!r}", _hint(section))
        if not isinstance(members, dict):
            raise SetupError(
                f"{file_name}: {section!r} is a section",
                f"write [{section}] on a line of its own",
            )
        for name, value in members.items():
            if name not in OPTIONS or OPTIONS[name].metadata["section"] != section:
                raise SetupError(
                    f"{file_name} has an unknown key {name!r} in [{section}]",
                    _hint(name),
                )
            yield name, value, file_name


def _hint(name: str) -> str | None:
    if name in OPTIONS:
        return f"{name} belongs into [{OPTIONS[name].metadata['section']}]"
    return did_you_mean(name, (*SECTIONS, *ELSEWHERE, *OPTIONS))


_UNITS: Final = {
    "": 1,
    "b": 1,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
}
_SIZE: Final = re.compile(r"([0-9]{1,15})\s*([A-Za-z]*)")
_MEMORY: Final = re.compile(r"[0-9]{1,3}%")


def _read(name: str, value: Value, source: str) -> Value:
    """A value of the option's own type, within its bounds."""
    option = OPTIONS[name]
    about = option.metadata
    wanted: type = type(option.default)
    try:
        if wanted is bool:
            return _bool(value)
        if wanted is str:
            return _text(name, value)
        if isinstance(value, bool):
            raise TypeError("a number is expected")
        number = bytes_of(str(value)) if about["unit"] == "bytes" else _number(value, wanted)
    except (TypeError, ValueError) as error:
        raise SetupError(f"{source}: {value!r} does not fit {name}: {error}") from None
    if not about["low"] <= number <= about["high"]:
        raise SetupError(f"{source}: {name} is {about['low']} to {about['high']}, not {number}")
    return number


def _number(value: Value, wanted: type) -> int | float:
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,16}" if wanted is int else r"[0-9]{1,16}(\.[0-9]{1,16})?", text):
        raise ValueError("a whole number is expected" if wanted is int else "a number is expected")
    return int(text) if wanted is int else float(text)


def _bool(value: Value) -> bool:
    words = {
        "true": True,
        "1": True,
        "yes": True,
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }
    known = words.get(str(value).lower())
    if known is None:
        raise ValueError("true or false is expected")
    return known


def _text(name: str, value: Value) -> str:
    if name == "memory_limit" and type(value) is int:  # bytes, as TOML writes them
        value = str(value)
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    choices = OPTIONS[name].metadata["choices"]
    if choices and value not in choices:
        raise ValueError(did_you_mean(value, choices) or f"one of {', '.join(choices)} is expected")
    if name == "memory_limit":
        _check_memory(value)
    return value


def _check_memory(limit: str) -> None:
    if not _MEMORY.fullmatch(limit):
        bytes_of(limit)
    elif not 1 <= int(limit[:-1]) <= 100:
        raise ValueError("a part of the machine's memory is 1% to 100%")


def bytes_of(text: str) -> int:
    """A size in bytes; raises ValueError.

    >>> bytes_of("64KiB")
    65536
    """
    match = _SIZE.fullmatch(text)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError("a number of bytes is expected, such as 1048576, 64KiB or 1MiB")
    return int(match[1]) * _UNITS[match[2].lower()]


def memory_bytes(limit: str, available: int) -> int:
    """``memory_limit`` as bytes, given the memory of the machine or its cgroup.

    >>> memory_bytes("80%", 1000), memory_bytes("2GiB", 1000)
    (800, 2147483648)
    """
    return available * int(limit[:-1]) // 100 if limit.endswith("%") else bytes_of(limit)


def reference() -> list[dict[str, object]]:
    """All options as plain data, for the documentation and ``tcsql config --json``."""
    shown = []
    for option in OPTIONS.values():
        assert option.default is not MISSING
        about = option.metadata
        shown.append(
            {
                "name": option.name,
                "section": about["section"],
                "type": type(option.default).__name__,
                "default": option.default,
                "unit": about["unit"],
                "choices": list(about["choices"]),
                "flag": flag(option.name),
                "environment": ENVIRONMENT_PREFIX + option.name.upper(),
                "reason": about["reason"],
            }
        )
    return shown
