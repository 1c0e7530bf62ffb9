"""Requests that a stranger makes who knows nothing but the description of the API: Schemathesis' cases, run here.

``told`` narrows the served document a little, so that half of the words name what is there: a description cannot hold
the names of tables, and requests that all end at "no such table" find little. ``sensible`` narrows it to one command
with the parameters that go with it, so that many requests are carried out. Every reply is checked against the
document as it was served.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from tcsql.http.openapi import openapi
from tcsql.http.parameters import COMMANDS, PARAMETERS, WRITES
from tcsql.settings import Settings
from tests.http.serving import Running

TABLES: Final = (
    "CREATE TABLE posts (id INT PRIMARY KEY AUTO_INCREMENT, n INT, price DECIMAL(10,2), title VARCHAR(80), body TEXT,"
    " made DATETIME, KEY (n), FULLTEXT KEY words (title)); "
    "CREATE TABLE pairs (a INT, b VARCHAR(20), PRIMARY KEY (a, b))"
)
_COLUMNS: Final = "(id|n|price|title|body|made|pkey)"
_OPERATORS: Final = (
    "(STREQ|STRINC|STRBW|STREW|STRAND|STROR|STROREQ|STRRX|NUMEQ|NUMGT|NUMGE|NUMLT|NUMLE|NUMBT|NUMOREQ|"
    "FTSPH|FTSAND|FTSOR|FTSEX|NULL)"
)
_CONDITION: Final = rf"{_COLUMNS}:~?{_OPERATORS}(:[ -{{}}~]{{1,12}}|:-?[0-9]{{1,4}}( [0-9]{{1,4}})?)"
_AGGREGATE: Final = rf"(count|sum\({_COLUMNS}\)|avg\({_COLUMNS}\)|min\({_COLUMNS}\)|max\({_COLUMNS}\))"
#: What a value of a parameter may be as well, beside what the document says.
_LIKELY: Final[Mapping[str, str]] = {
    "table": "^(posts|pairs)$",
    "type": rf"^(\*|count|{_COLUMNS}(,{_COLUMNS})?|{_AGGREGATE}(,{_AGGREGATE})?)$",
    "where": rf"^{_CONDITION}(\|{_CONDITION}){{0,2}}$",
    "group_by": rf"^{_COLUMNS}(,{_COLUMNS})?$",
    "order_by": rf"^({_COLUMNS}(,{_COLUMNS})?|{_AGGREGATE})$",
    "min_lsn": "^[0-9]{1,2}$",
    "rows": r'^\{"(id|n|price|title|body|made)":("[ -!#-Z]{0,9}"|-?[0-9]{1,12}|null|\[\]|true|1e5|0\.5)\}$',
    "set": r'^\{"(n|price|title|body|made)":("[ -!#-Z]{0,9}"|-?[0-9]{1,12}|null|\{\}|false)\}$',
    "sql": r"^(CREATE|ALTER|TRUNCATE|CREATE UNIQUE INDEX x ON|ALTER TABLE|CREATE INDEX y ON) (TABLE )?"
    r"(posts|pairs|c[0-9]) ?(\([a-z]( (INT|TEXT|BLOB|JSON|ENUM\('a'\)))?\)|ADD COLUMN e INT|DROP COLUMN body)?;?$",
}
#: Parameters of which nearly no value is right, or that wait.
_HARD: Final = ("after", "before", "min_lsn", "limit_skip", "order_sort", "group_by")
_LINES: Final = "application/x-ndjson"
_CHECKS: Final = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]


@schemathesis.serializer(_LINES)
def _lines(context: Any, value: Any) -> bytes:
    """One JSON value a line, or the text as it is."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    values = value if isinstance(value, list) else [value]
    return b"\n".join(orjson.dumps(each, default=str, option=orjson.OPT_NON_STR_KEYS) for each in values)


def told(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with likely words beside any words."""
    likely = copy.deepcopy(dict(document))
    for parameters in (operation.get("parameters", []) for _, operation in operations(likely)):
        for parameter in parameters:
            if parameter["name"] in _LIKELY:
                parameter["schema"] = _widened(parameter["schema"], _LIKELY[parameter["name"]])
    bodies = likely["paths"]["/"]["post"]["requestBody"]["content"]
    whole, *_ = bodies["application/json"]["schema"]["anyOf"]  # the other: any object is a row, so none is wrong
    bodies["application/json"]["schema"] = whole
    row = _LIKELY["rows"].strip("^$")
    bodies[_LINES]["schema"] = _widened(bodies[_LINES]["schema"], rf"^{row}(\n{row}){{0,3}}$")
    for members in (whole["properties"], bodies["application/x-www-form-urlencoded"]["schema"]["properties"]):
        for name in members.keys() & _LIKELY.keys() - {"rows", "set", "where"}:
            members[name] = _widened(members[name], _LIKELY[name])
    return likely


def sensible(document: Mapping[str, Any], command: str) -> dict[str, Any]:
    """The document of a server that knows one command, and words that are right nearly always."""
    narrow = copy.deepcopy({**document, "paths": {"/": document["paths"]["/"]}})
    if command in WRITES:
        narrow["paths"]["/"].pop("get")
    required = {"command": command, "table": "posts", "sql": None}
    for _, operation in operations(narrow):
        operation["parameters"] = [
            {**parameter, "required": parameter["name"] in required, "schema": _narrowed(parameter, required)}
            for parameter in operation["parameters"]
            if command in PARAMETERS[parameter["name"]].commands and parameter["name"] not in _HARD
        ]
        operation.pop("requestBody", None)
    post = narrow["paths"]["/"]["post"]
    members = {"n": {"type": "integer"}, "title": {"type": "string"}, "price": {"type": "number"}}
    row = {"type": "object", "properties": members, "additionalProperties": False, "minProperties": 1}
    if command in ("insert", "update"):
        rows = {"oneOf": [row, {"type": "array", "items": row}]} if command == "insert" else row
        post["requestBody"] = {"content": {"application/json": {"schema": rows}}, "required": True}
        post["parameters"] = [each for each in post["parameters"] if each["name"] not in ("rows", "set")]
    return narrow


def _narrowed(parameter: Mapping[str, Any], required: Mapping[str, str | None]) -> dict[str, Any]:
    only = required.get(parameter["name"])
    if only is not None:
        return {"const": only}
    schema = dict(parameter["schema"])
    pattern = _LIKELY.get(parameter["name"])
    if pattern is None:
        return schema
    text = {"type": "string", "pattern": pattern}
    return {"type": "array", "items": text} if schema.get("type") == "array" else text


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation of a document with its name."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _widened(schema: dict[str, Any], pattern: str) -> dict[str, Any]:
    if schema.get("type") == "array":
        return {**schema, "items": _widened(schema["items"], pattern)}
    return {"anyOf": [{"type": "string", "pattern": pattern}, schema]}


def ask(server: Running, key: str, most: int) -> dict[str, Any]:
    """Send ``most`` cases of each operation, as many of them broken on purpose as right; what came back, by status.

    Raises FailureGroup with the request, as a curl command, for a reply that is 5xx or not as described.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    statuses: dict[int, int] = {}
    with requests.Session() as session:
        served = session.get(f"{server.url}/openapi.json", headers=headers, timeout=10)
        document = served.json() if served.status_code == 200 else _own_document()
        as_served = _by_label(document)
        for narrowed in (told(document), *(sensible(document, command) for command in COMMANDS)):
            for label, operation in _by_label(narrowed).items():
                modes = [GenerationMode.POSITIVE]
                if list(operation.query) or operation.body:  # else there is nothing to get wrong
                    modes.append(GenerationMode.NEGATIVE)
                for mode in modes:
                    strategy = operation.as_strategy(generation_mode=mode)
                    _send(session, server.url, strategy, as_served[label], headers, most, statuses)
    return {"requests": sum(statuses.values()), "statuses": {str(key): statuses[key] for key in sorted(statuses)}}


def _own_document() -> dict[str, Any]:
    """What is described to those who may read it."""
    return openapi(Settings())


def _by_label(document: Mapping[str, Any]) -> dict[str, Any]:
    found = [result.ok() for result in schemathesis.openapi.from_dict(dict(document)).get_all_operations()]
    return {operation.label: operation for operation in found}


def _send(
    session: requests.Session,
    url: str,
    strategy: SearchStrategy[Any],
    as_served: Any,
    headers: dict[str, str],
    most: int,
    statuses: dict[int, int],
) -> None:
    @settings(
        max_examples=most,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def send(case: Any) -> None:
        response = case.call(base_url=url, session=session, headers=headers, timeout=30)
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
        case.operation = as_served
        try:
            case.validate_response(response, checks=_CHECKS)
        except FailureGroup as failures:
            failures.add_note(case.as_curl_command())
            raise

    send()
