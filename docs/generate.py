"""The reference, written from the tables the program runs on: ``python -m docs.generate``.

    pages()    {file name in docs/reference: text}, made in memory; tests compare it with the files
    main()     writes them

Nothing about an option, a command, a parameter, an operator, an error or a type is said here a second time: names,
defaults and meanings come from the code. What stands here is the order of the pages and the sentences around them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any, Final

import typer

from tcsql import errors, sources
from tcsql.access.scopes import OPERATIONS
from tcsql.cli.app import EXIT_CODES, app
from tcsql.configuration import reference
from tcsql.engine.query import AggregateFunction, Operator
from tcsql.engine.values import ClientValue, ColumnType, Kind
from tcsql.errors import CallerError, OperatorError, RetryLater, TCSQLError
from tcsql.http.names import ORDERS
from tcsql.http.exposition import FAMILIES, PROCESS
from tcsql.http.openapi import OPERATOR_MEANINGS, openapi
from tcsql.http.parameters import COMMANDS, PARAMETERS, READS
from tcsql.http.paths import PATHS
from tcsql.http.published_operands import taken_by
from tcsql.published import options as published
from tcsql.published.places import TYPES
from tcsql.settings import OPTIONS, SECTIONS, Settings
from tcsql.sql import changes_of

PACKAGE: Final = Path(errors.__file__).parent
DIRECTORY: Final = Path(__file__).parent / "reference"
_HEAD: Final = "<!-- Written by `make docs` from the program. Change the program, not this page. -->\n"


def pages() -> dict[str, str]:
    """Every page of the reference by its file name."""
    made = {
        "settings.md": settings_page(),
        "sources.md": sources_page(),
        "published.md": published_page(),
        "commands.md": commands_page(),
        "http.md": http_page(),
        "operators.md": operators_page(),
        "errors.md": errors_page(),
        "types.md": types_page(),
        "metrics.md": metrics_page(),
    }
    return {name: _HEAD + text.rstrip() + "\n" for name, text in made.items()}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; a bar inside a cell is escaped.

    >>> print(table(["a"], [["x|y"]]))
    | a |
    |---|
    | x\\|y |
    """
    lines = [head, ["---"] * len(head), *rows]
    shown = ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]
    return "\n".join([shown[0], shown[1].replace(" ", ""), *shown[2:]])


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _code(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if text else ""


# --- settings ---------------------------------------------------------------------------------------------------


def settings_page() -> str:
    parts = [
        "# Settings",
        (
            "Each setting has one name and can be given in four places; the first that gives it wins:\n\n"
            "1. a flag: `--max-rows 500`\n"
            "2. the environment: `TCSQL_MAX_ROWS=500`\n"
            "3. the configuration file, `tcsql.toml` in the working directory or the file named by `--config` or "
            "`TCSQL_CONFIG`: `max_rows = 500` under `[limits]`\n"
            "4. its default\n\n"
            "An unknown name or a value that does not fit is an error (exit code 2). Sizes take `64KiB`, `2GiB` "
            "and plain numbers of bytes. `tcsql config` prints the effective settings with the source of each."
        ),
    ]
    known = reference()
    for section in SECTIONS:
        rows = [
            [_code(o["name"]), _code(o["default"]), o["unit"], _bounds(str(o["name"])), f"{o['reason']}",
             f"{_code(o['flag'])} {_code(o['environment'])}"]
            for o in known if o["section"] == section
        ]  # fmt: skip
        parts += [f"## [{section}]", table(["name", "default", "unit", "values", "what and why", "also"], rows)]
    return "\n\n".join(parts)


def _bounds(name: str) -> str:
    about = OPTIONS[name].metadata
    default = OPTIONS[name].default
    if about["choices"]:
        return ", ".join(_code(choice) for choice in about["choices"])
    if isinstance(default, bool):
        return "`true`, `false`"
    if isinstance(default, str):
        return "text"
    return f"{about['low']} to {about['high']}" if about["high"] < 2**53 else f"from {about['low']}"


# --- sources ----------------------------------------------------------------------------------------------------


def sources_page() -> str:
    return "\n\n".join([
        "# Sources",
        ("A source is a MySQL or MariaDB database whose tables are followed. It is a section of the configuration "
        "file, `tcsql.toml`, under a name of your choice; a server may have several, and a table follows one. "
        "What is misspelt or does not fit is an error at start (exit code 2). How it is set up and used: "
        "[following MySQL](../following.md)."),
        ('```toml\n[source.shop]\nurl = "mysql://tcsql@127.0.0.1:3306/shop"\npassword_file = "shop.password"\n'
        'tables = ["posts", "users"]\n\n[source.shop.table.users]\ncolumns = ["id", "name"]\nwhere = "deleted = 0"\n'
        "```"),
        "## [source.NAME]", _source_options(sources.OPTIONS),
        "## [source.NAME.table.TABLE]", "Where a table is special.", _source_options(sources.TABLE_OPTIONS),
    ])  # fmt: skip


def published_page() -> str:
    places = [[_code(about.spelling), name, about.meaning] for name, about in TYPES.items()]
    operators = [
        [", ".join(_code(operator.value) for operator in Operator if taken_by(operator) == taken),
         ", ".join(_code(name) for name in TYPES if name in taken) or "none"]
        for taken in dict.fromkeys(map(taken_by, Operator))
    ]  # fmt: skip
    return "\n\n".join([
        "# Published queries",
        ("A published query is a section of the configuration file, `tcsql.toml`, under a name of your choice: what "
        "everybody who reaches the server may ask, at `/q/NAME`. What is misspelt or does not fit is an error at start "
        "(exit code 2). How they are written and called: [published queries](../published.md)."),
        "## [published.NAME]", _source_options(published.OPTIONS),
        "## Places", "A place is written `{name:type}` or `{name:type=default}`, and `{name}` once it has a type.",
        table(["for example", "type", "values"], places),
        "## Operators and places", "An operator takes the places whose values cannot speak its grammar.",
        table(["operators", "types of places"], operators),
    ])  # fmt: skip


def _source_options(options: Mapping[str, Field[Any]]) -> str:
    rows = [
        [_code(name), "required" if option.default is MISSING else _code(_plain_default(option.default)),
         option.metadata["unit"], _source_values(name, option), option.metadata["reason"]]
        for name, option in options.items()
    ]  # fmt: skip
    return table(["name", "default", "unit", "values", "what and why"], rows)


def _plain_default(default: object) -> object:
    return "" if default == () else default


def _source_values(name: str, option: Field[Any]) -> str:
    if name == "mode":
        return ", ".join(_code(mode) for mode in sources.MODES)
    if isinstance(option.default, bool):
        return "`true`, `false`"
    if isinstance(option.default, int):
        return f"{option.metadata['low']} to {option.metadata['high']}"
    return "list of names" if "tuple" in str(option.type) else "text"


# --- commands ---------------------------------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    """The commands of the program by name, as the command-line library holds them."""
    group: Any = typer.main.get_command(app)
    return dict(_commands_of(group))


def _commands_of(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands_of(command, f"{before}{name} ")
        else:
            yield before + name, command


def commands_page() -> str:
    parts = ["# Commands", "`tcsql COMMAND --help` says the same. [Exit codes](errors.md#exit-codes)."]
    for name, command in commands().items():
        takes_settings = {"config", *OPTIONS} <= {p.name for p in command.params}
        own = [p for p in command.params if not (takes_settings and p.name in OPTIONS)]
        usage = " ".join(["tcsql", name, "[OPTIONS]", *_arguments(own)])
        parts += [f"## tcsql {name}", f"`{usage}`", " ".join(str(command.help).split())]
        rows = [[_spelling(p), _default(p), p.help or ""] for p in own]
        if rows:
            parts.append(table(["", "default", "meaning"], rows))
        if takes_settings:
            parts.append("And every [setting](settings.md) as a flag.")
    return "\n\n".join(parts)


def _is_argument(parameter: Any) -> bool:
    return not str(parameter.opts[0]).startswith("-")


def _arguments(own: Sequence[Any]) -> Iterator[str]:
    for parameter in own:
        if _is_argument(parameter):
            name = str(parameter.name).upper()
            yield name if parameter.required else f"[{name}]"


def _spelling(parameter: Any) -> str:
    if _is_argument(parameter):
        return _code(str(parameter.name).upper())
    return ", ".join(_code(spelling) for spelling in (*parameter.opts, *parameter.secondary_opts))


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    return "" if default is None or isinstance(default, bool) or callable(default) else _code(default)


# --- HTTP -------------------------------------------------------------------------------------------------------


def http_page() -> str:
    described = openapi(Settings())
    paths = [
        [_code(path), ", ".join(methods), "; ".join(_summaries(described["paths"][path]))]
        for path, methods in PATHS.items()
    ]
    parameters = [
        [_code(p.name), p.meaning, _code(p.default), ", ".join(p.commands), _code(p.example)]
        for p in PARAMETERS.values()
    ]
    takes = [
        [_code(command), "read" if command in READS else "write",
         ", ".join(_code(p.name) for p in PARAMETERS.values() if command in p.commands and p.name != "command")]
        for command in COMMANDS
    ]  # fmt: skip
    replies = [[name, _members(schema)] for name, schema in described["components"]["schemas"].items()
               if schema.get("type") == "object" and "properties" in schema and name != "Error"]  # fmt: skip
    headers = [[_code(f"TCSQL-{name}"), about["description"]]
               for name, about in described["components"]["headers"].items()]  # fmt: skip
    return "\n\n".join([
        "# HTTP",
        ("The machine-readable form of this page is `/openapi.json` of a running server. "
        "How to use it: [the guide](../guide.md). What is answered when a request is refused: [errors](errors.md)."),
        "## Paths", table(["path", "methods", "what"], paths),
        "## Operations", ("What a request is, and the scope that its [key](../keys.md) needs for it. "
        "`admin` holds all scopes; a key that is limited to tables may not do what concerns all of them."),
        table(["operation", "scope", "by setting", "concerns all tables"], _operations()),
        "## Commands", "The parameter `command` of a request to `/`.",
        table(["command", "", "takes"], takes),
        "## Parameters", table(["parameter", "meaning", "default", "commands", "example"], parameters),
        "## Orders", ", ".join(_code(order) for order in ORDERS),
        "## Aggregates", ", ".join(_code(f.value if f is AggregateFunction.COUNT else f"{f.value}(column)")
                                   for f in AggregateFunction),
        "## Replies", table(["reply", "members"], replies),
        "## Headers of a reply", table(["header", "what"], headers),
    ])  # fmt: skip


def _operations() -> list[list[str]]:
    return [
        [
            _code(operation.name),
            "the token of a source" if operation.by_token else _code(operation.needs or "open"),
            _code(operation.setting),
            "yes" if operation.whole else "",
        ]
        for operation in OPERATIONS.values()
    ]


def _summaries(methods: dict[str, Any]) -> Iterator[str]:
    for operation in methods.values():
        yield str(operation["summary"])


def _members(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    return ", ".join(_code(name) + ("" if name in required else " (when known)") for name in schema["properties"])


# --- operators --------------------------------------------------------------------------------------------------


def operators_page() -> str:
    rows = [[_code(operator.value), OPERATOR_MEANINGS[operator]] for operator in Operator]
    return "\n\n".join([
        "# Operators",
        ("A condition is `column:OPERATOR:expression`. `~` in front of the operator negates it: `title:~STREQ:x`. "
        "When the column is NULL or missing the condition is false and the negated one true. Names of operators are "
        "upper case. An example of each with its answer: [the guide](../guide.md#conditions)."),
        table(["operator", "true when the value of the column …"], rows),
    ])  # fmt: skip


# --- errors -----------------------------------------------------------------------------------------------------

_LINE: Final = re.compile(r"── (\w+)\s+(?:\d{3}|exit \d) ([a-z_]+)(?:\s+(.*))?$", re.MULTILINE)
_WHO: Final = (
    (CallerError, "The request", "The client sent something wrong; the same request fails again."),
    (RetryLater, "Nobody", "The same request succeeds later; the reply has `Retry-After`."),
    (OperatorError, "The machine", "Somebody has to look at the server."),
)


def error_rows() -> Iterator[tuple[type[TCSQLError], str, str]]:
    """(class that says who must act, code, meaning) of every line of the drawn tree in ``tcsql.errors``."""
    for name, code, meaning in _LINE.findall(errors.__doc__ or ""):
        kind = getattr(errors, name)
        branch = next(branch for branch, _, _ in _WHO if issubclass(kind, branch))
        assert kind.code == code, f"{name} is drawn as {code}"
        yield branch, code, meaning


def exit_codes() -> str:
    """The exit codes as a list."""
    return "\n".join(f"- `{code}` {meaning}" for code, _, meaning in (
        part.partition(" ") for part in EXIT_CODES.removeprefix("Exit codes: ").rstrip(".").split("; ")))  # fmt: skip


def _is_answered(kind: type[TCSQLError]) -> bool:
    """Whether any module of the program mentions the error; a code may be reserved for a later version."""
    modules = (path for path in PACKAGE.rglob("*.py") if path.name != "errors.py")
    return any(re.search(rf"\b{kind.__name__}\b", path.read_text(encoding="utf-8")) for path in modules)


def _by_code(code: str) -> type[TCSQLError]:
    leaves = (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TCSQLError))
    return next(kind for kind in leaves if kind.code == code and kind not in _BRANCHES)


_BRANCHES: Final = (TCSQLError, CallerError, RetryLater, OperatorError)


def errors_page() -> str:
    parts = [
        "# Errors",
        (
            'A refusal over HTTP is `{"error":{"code":…,"message":…,"hint":…}}`. `code` is stable, for programs; '
            "`message` and `hint` are for people and may change. On the command line an error is one line on standard "
            "error, with the exit code below."
        ),
    ]
    known = list(error_rows())
    for branch, who, about in _WHO:
        rows = []
        for found, code, meaning in known:
            if found is branch:
                kind = _by_code(code)
                over_http = kind.status if kind.exit_code == 1 else "at start only"
                when = meaning if _is_answered(kind) else f"reserved, never answered by this version: {meaning}"
                rows.append([_code(code), over_http, kind.exit_code, when])
        parts += [f"## {who} must change", about, table(["code", "HTTP status", "exit code", "when"], rows)]
    parts += ["## Exit codes", exit_codes()]
    return "\n\n".join(parts)


# --- column types -----------------------------------------------------------------------------------------------

#: One declaration per MySQL type, with a value that a client may send.
_EXAMPLES: Final[tuple[tuple[str, ClientValue], ...]] = (
    ("tinyint", -128), ("smallint unsigned", 65_535), ("mediumint", 7), ("int", 42),
    ("bigint unsigned", 18_446_744_073_709_551_615), ("bool", True), ("bit(8)", 255), ("year", 2026),
    ("decimal(10,2)", "1.5"), ("float", 0.1), ("double", 1e20),
    ("char(3)", "SFO"), ("varchar(80)", "Grüße"), ("tinytext", "x"), ("text", "x"), ("mediumtext", "x"),
    ("longtext", "x"), ("uuid", "6ccd780c-baba-1026-9564-5b8c656024db"), ("inet4", "10.0.0.1"), ("inet6", "::1"),
    ("binary(4)", "AAE="), ("varbinary(80)", "AAE="), ("blob", "AAE="),
    ("date", "2026-11-20"), ("datetime", "2026-11-20 15:04:05"), ("timestamp(3)", "2026-11-20T15:04:05.1"),
    ("time", "-12:00:00"), ("enum('draft','live')", "live"), ("set('a','b','c')", ["c", "a"]),
    ("json", '{"b": 1}'),
)  # fmt: skip

#: How columns of a kind behave, beyond what the examples show.
_KINDS: Final = {
    Kind.INTEGER: "whole numbers within the type's bounds; a fraction is refused. BOOL is a TINYINT",
    Kind.DECIMAL: "exact; in JSON a string with the full scale; number or string taken, never rounded",
    Kind.FLOAT: "binary floating point; NaN and Infinity are refused",
    Kind.TEXT: "length counted in characters (CHAR, VARCHAR) or bytes of UTF-8 (TEXT); compared byte for byte",
    Kind.BINARY: "base64 text in JSON and in conditions; BINARY(n) is padded with zero bytes. Geometry, vectors too",
    Kind.DATE: "ISO text; clients must send a date of the calendar",
    Kind.DATETIME: "ISO text without a time zone; `T` or a blank between day and time; fraction up to the declared "
    "digits",
    Kind.TIME: "-838:59:59 to 838:59:59",
    Kind.ENUM: "one member; case ignored when that names one member; ordered as text, not by position",
    Kind.SET: "members joined by commas in the order of the declaration; a JSON array is taken too",
    Kind.JSON: "kept as JSON text and given back as a string; cannot be indexed as a document",
}


def column_type(declared: str) -> ColumnType:
    """The type of a column declared like this."""
    [change] = changes_of(f"CREATE TABLE t (id int PRIMARY KEY, c {declared})", lambda name: None)
    return change.schema.column("c").type  # type: ignore[union-attr]  # CREATE TABLE makes a table


def types_page() -> str:
    rows = []
    for declared, sent in _EXAMPLES:
        kind = column_type(declared)
        stored = kind.from_client(sent)
        assert stored is not None, declared
        shown = f'"{stored}"' if isinstance(stored, str) else stored
        rows.append([_code(declared), kind.kind.value, _code(json.dumps(sent, ensure_ascii=False)),
                     _code(shown), _code(kind.text(stored)), _code(kind.number(stored))])  # fmt: skip
    kinds = [[kind.value, _KINDS[kind]] for kind in Kind]
    return "\n\n".join([
        "# Column types",
        ("Columns are declared as in MySQL. The examples are computed: what a client sends, what the row holds, "
        "what the STR operators see, what the NUM operators see (on text: the number at its beginning, else 0). Other "
        "spellings (INTEGER, NUMERIC, DOUBLE PRECISION, NATIONAL VARCHAR …) mean the types they mean in MySQL."),
        table(["declared", "kind", "sent", "in JSON", "as text", "as number"], rows),
        "## Kinds", table(["kind", "values"], kinds),
        ("Values that come from a dump of MySQL are kept as MySQL prints them and never refused; the checks are for "
        "clients."),
    ])  # fmt: skip


# --- metrics ----------------------------------------------------------------------------------------------------


def metrics_page() -> str:
    rows = [[_code(family.name), family.kind, ", ".join(map(_code, family.labels)), family.meaning]
            for family in FAMILIES.values()]  # fmt: skip
    return "\n\n".join([
        "# Metrics",
        ("`GET /metrics` in the text format of Prometheus 0.0.4; OpenMetrics when `Accept` asks for it. It needs the scope "
        "of `metrics_scope` (`admin`). Values of labels are names of operations, error codes, tables, indexes and "
        "sources, never anything that a client sends. What to watch: [operations](../operations.md#metrics)."),
        table(["metric", "kind", "labels", "meaning"], rows),
        "## Of the process", "By prometheus_client: " + ", ".join(map(_code, PROCESS)) + ".",
    ])  # fmt: skip


def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    for name, text in pages().items():
        (DIRECTORY / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
