"""One definition, four spellings: precedence, strictness, and what the reference says."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from tcsql.configuration import bytes_of, memory_bytes, reference, resolve
from tcsql.errors import SetupError
from tcsql.settings import OPTIONS, SECTIONS, Settings, Value


def test_without_any_source_everything_is_its_default() -> None:
    found = resolve({}, {})
    assert found.settings == Settings()
    assert set(found.sources.values()) == {"default"}


def test_flag_before_environment_before_file_before_default() -> None:
    file = "[server]\nport = 1\nhost = 'file'\nkeepalive_s = 7\n[limits]\nmax_rows = 10\n"
    environment = {"TCSQL_PORT": "2", "TCSQL_HOST": "environment", "PATH": "/bin"}
    found = resolve({"port": "3", "host": None}, environment, file, "my.toml")
    assert (found.settings.port, found.settings.host, found.settings.keepalive_s) == (3, "environment", 7)
    assert found.settings.max_rows == 10
    assert found.sources["port"] == "--port"
    assert found.sources["host"] == "TCSQL_HOST"
    assert found.sources["max_rows"] == "my.toml"
    assert found.sources["backlog"] == "default"


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_read_from_every_source(name: str) -> None:
    default = getattr(Settings(), name)
    choices = OPTIONS[name].metadata["choices"]
    other: Value
    if isinstance(default, bool):
        other = not default
    elif isinstance(default, (int, float)):
        other = type(default)(OPTIONS[name].metadata["low"] + 1)
    elif name == "memory_limit":
        other = "1GiB"
    else:
        other = next(choice for choice in choices if choice != default) if choices else "other"
    text = str(other).lower() if isinstance(other, bool) else str(other)
    section = OPTIONS[name].metadata["section"]
    toml = text if not isinstance(other, str) else f'"{text}"'
    for found in (
        resolve({name: text}, {}),
        resolve({}, {f"TCSQL_{name.upper()}": text}),
        resolve({}, {}, f"[{section}]\n{name} = {toml}\n"),
    ):
        value = getattr(found.settings, name)
        assert value == other
        assert type(value) is type(default)
        assert found.sources[name] != "default"


@pytest.mark.parametrize(
    ("flags", "environment", "file", "says"),
    [
        ({}, {"TCSQL_PROT": "1"}, None, 'unknown environment variable TCSQL_PROT (did you mean "TCSQL_PORT"?)'),
        ({}, {"TCSQL_port": "1"}, None, "unknown environment variable TCSQL_port"),
        ({}, {}, "[server]\nprot = 1", "unknown key 'prot' in [server] (did you mean \"port\"?)"),
        ({}, {}, "[limits]\nport = 1", "unknown key 'port' in [limits] (port belongs into [server])"),
        ({}, {}, "port = 1", "unknown section or key 'port' (port belongs into [server])"),
        ({}, {}, "[sever]\nport = 1", "unknown section or key 'sever' (did you mean \"server\"?)"),
        ({}, {}, "server = 1", "'server' is a section"),
        ({}, {}, "[server", "is not TOML"),
        ({"port": "x"}, {}, None, "--port: 'x' does not fit port: a whole number is expected"),
        ({"port": "-1"}, {}, None, "a whole number is expected"),
        ({"port": "1_000"}, {}, None, "a whole number is expected"),
        ({"port": "٣"}, {}, None, "a whole number is expected"),
        ({"port": "70000"}, {}, None, "port is 0 to 65535, not 70000"),
        ({}, {"TCSQL_PORT": "tcp://10.0.0.1:3888"}, None, "TCSQL_PORT"),
        ({}, {}, "[server]\nport = true", "a number is expected"),
        ({}, {}, "[server]\nport = 1.5", "a whole number is expected"),
        ({}, {}, "[server]\nhost = 5", "a text is expected"),
        ({"durability": "allways"}, {}, None, 'did you mean "always"?'),
        ({"get_writes": "maybe"}, {}, None, "true or false is expected"),
        ({"max_body_bytes": "1 MegaByte"}, {}, None, "a number of bytes is expected"),
        ({"max_body_bytes": "1"}, {}, None, "max_body_bytes is 1024 to"),
        ({"memory_limit": "most"}, {}, None, "a number of bytes is expected"),
        ({"memory_limit": "0%"}, {}, None, "1% to 100%"),
        ({"memory_limit": "101%"}, {}, None, "1% to 100%"),
        ({"max_rows": "0"}, {}, None, "max_rows is 1 to"),
    ],
)
def test_what_nobody_knows_or_does_not_fit_is_an_error(
    flags: dict[str, Value | None], environment: dict[str, str], file: str | None, says: str
) -> None:
    with pytest.raises(SetupError) as caught:
        resolve(flags, environment, file)
    shown = f"{caught.value.message} ({caught.value.hint})" if caught.value.hint else caught.value.message
    assert says in shown


def test_sizes_have_units() -> None:
    assert [bytes_of(text) for text in ("10", "64KiB", "1 MiB", "2gib", "3kb")] == [10, 65_536, 2**20, 2**31, 3_000]
    assert resolve({"max_line_bytes": "2MiB"}, {}).settings.max_line_bytes == 2**21
    assert resolve({}, {}, "[limits]\nmemory_limit = 123456").settings.memory_limit == "123456"
    assert (memory_bytes("50%", 1_000), memory_bytes("1KiB", 1_000)) == (500, 1_024)


def test_every_option_has_a_reason_a_section_and_one_spelling_each() -> None:
    entries = reference()
    assert [entry["name"] for entry in entries] == [field.name for field in fields(Settings)]
    for entry in entries:
        assert entry["reason"]
        assert entry["section"] in SECTIONS
        assert re.fullmatch(r"--[a-z]+(-[a-z]+)*", str(entry["flag"]))
        assert entry["environment"] == f"TCSQL_{str(entry['name']).upper()}"
        assert str(entry["name"]).endswith(f"_{entry['unit']}") or entry["unit"] in ("", "bytes")
