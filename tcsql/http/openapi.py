"""``/openapi.json``, made from the tables the code runs on: parameters, operators, orders, error classes, settings.

What is described nowhere else stands here once: the meaning of each operator and the shapes of the replies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from tcsql import __version__
from tcsql.engine.query import Operator
from tcsql.errors import CallerError, OperatorError, RetryLater, TCSQLError
from tcsql.http.following import ACTIONS
from tcsql.http.names import FUNCTIONS, ORDERS
from tcsql.http.openapi_access import add_access
from tcsql.http.parameters import COMMANDS, PARAMETERS, Parameter
from tcsql.settings import Settings

OPERATOR_MEANINGS: Final[Mapping[Operator, str]] = {
    Operator.STREQ: "equals the expression, byte for byte",
    Operator.STRINC: "contains the expression",
    Operator.STRBW: "begins with the expression",
    Operator.STREW: "ends with the expression",
    Operator.STRAND: "every token of the expression is a token of the value; separators blank, tab, newline, comma",
    Operator.STROR: "at least one token of the expression is a token of the value",
    Operator.STROREQ: "the whole value equals one token of the expression",
    Operator.STRRX: "the regular expression (RE2) is found in the value; a leading * ignores case",
    Operator.NUMEQ: "number equal to the expression",
    Operator.NUMGT: "number greater than the expression",
    Operator.NUMGE: "number greater than or equal to the expression",
    Operator.NUMLT: "number less than the expression",
    Operator.NUMLE: "number less than or equal to the expression",
    Operator.NUMBT: "number between two numbers, both included, in either order",
    Operator.NUMOREQ: "number equal to one of the numbers of the expression",
    Operator.FTSPH: "full text: the phrase, with case, accents and width folded",
    Operator.FTSAND: "full text: all tokens",
    Operator.FTSOR: "full text: any token",
    Operator.FTSEX: "full text: an expression with && || !! and quotes",
    Operator.NULL: "is NULL or missing; needs no expression",
}


def error_classes() -> Iterator[type[TCSQLError]]:
    """Every error class that a client can meet, each code once."""
    seen: set[str] = set()
    waiting: list[type[TCSQLError]] = [CallerError, RetryLater, OperatorError]
    while waiting:
        found = waiting.pop(0)
        waiting += found.__subclasses__()
        if found.exit_code == 1 and found.code not in seen:
            seen.add(found.code)
            yield found


class Described(NamedTuple):
    """A published query: what its reply can be, by the names of schemas, and its parameters."""

    name: str
    summary: str
    replies: tuple[str, ...]
    parameters: list[dict[str, Any]]


def openapi(settings: Settings, published: Iterable[Described] = ()) -> dict[str, Any]:
    """The description of the API under the given settings, OpenAPI 3.1."""
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "TCSQL", "version": __version__, "description": _about(settings)},
        "paths": {
            "/": {"get": _get(settings), "post": _post(settings)},
            "/health": _document("health", "the process answers", {"status": {"const": "ok"}}),
            "/ready": _document(
                "ready",
                "requests are served, whatever the sources do; their states",
                {"ready": {"type": "boolean"}, "sources": {"type": "object"}},
                (503,),
            ),
            "/status": _document("status", "tables, indexes, sources, lsn, memory, counters", {}, (503,)),
            "/slow": _document("slow", "the last reads that were slow: shape, rows examined, plan, caller", {}),
            "/metrics": {"get": _metrics()},
            "/sources": {"get": _sources()},
            "/sources/{name}": {"get": _source(), "post": _act()},
            "/openapi.json": _document("openapi", "this document", {}),
            "/backup": {"get": _backup()},
            "/reload": {"post": _reload()},
            "/q/{name}": {"get": _any_published()},
            **{f"/q/{each.name}": {"get": _published(each)} for each in published},
        },
        "components": {"schemas": _schemas(), "headers": _headers(), "responses": _responses()},
    }
    return add_access(document, settings)


def _about(settings: Settings) -> str:
    operators = "\n".join(f"- `{operator.value}`: {OPERATOR_MEANINGS[operator]}" for operator in Operator)
    return (
        "List cache for MySQL: list pages, exact counts and group totals as JSON.\n\n"
        "A condition is `column:OPERATOR:expression`; `~` in front of the operator negates it. A column that is NULL "
        "or missing makes the condition false and the negated one true. `pkey` names the primary key. Conditions are "
        "joined by `|`; in an expression a literal `|` is written `\\|`.\n\n"
        f"{operators}\n\n"
        f"Host is one of {settings.hosts}, with any port; else 421. A page of another site may not write nor take a "
        f"backup: 403 cross_site; origins for which that is allowed: {settings.cors_origins or 'none'}.\n\n"
        f"Bounds: {settings.max_rows} rows and {settings.max_reply_bytes} bytes a page, {settings.max_body_bytes} "
        f"bytes a body, {settings.max_line_bytes} bytes a line of a bulk load, {settings.max_conditions} conditions."
    )


def _parameter(parameter: Parameter, settings: Settings) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if parameter.name in ("limit_skip", "limit_max"):
        schema = {"type": "integer", "minimum": 0}
        if parameter.name == "limit_max":
            schema["maximum"] = settings.max_rows
    if parameter.values:
        schema["enum"] = list(parameter.values)
    if parameter.default:
        schema["default"] = int(parameter.default) if schema["type"] == "integer" else parameter.default
    if parameter.repeatable:
        schema = {"type": "array", "items": schema}
    if parameter.name == "order_sort":
        one = "|".join(ORDERS)
        schema["pattern"] = f"^({one})(,({one}))*$"
    return schema


def _query_parameters(settings: Settings) -> list[dict[str, Any]]:
    shown = []
    for parameter in PARAMETERS.values():
        item: dict[str, Any] = {
            "name": parameter.name,
            "in": "query",
            "required": False,  # a POST may carry any of them in its body instead
            "description": f"{parameter.meaning} ({', '.join(parameter.commands)})",
            "schema": _parameter(parameter, settings),
        }
        if parameter.repeatable:
            item |= {"style": "form", "explode": True}
        shown.append(item)
    return shown


def _get(settings: Settings) -> dict[str, Any]:
    writes = "GET writes are on." if settings.get_writes else "Writes by GET are refused with 405 get_writes_off."
    parameters = [
        parameter | {"required": True} if parameter["name"] == "command" else parameter
        for parameter in _query_parameters(settings)
    ]
    return {
        "operationId": "read",
        "summary": "select, count, totals per group, explain",
        "description": writes,
        "parameters": parameters,
        "responses": _replies(_ref("Page"), _ref("Count"), _ref("Groups"), _ref("Plan")),
    }


def _post(settings: Settings) -> dict[str, Any]:
    row = {"type": "object", "description": "a row: column names and values"}
    rows = {"oneOf": [row, {"type": "array", "items": row}]}
    members = {name: _parameter(parameter, settings) for name, parameter in PARAMETERS.items()}
    members["where"] = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    members |= {"rows": rows, "set": {"type": "object"}}
    request = {"type": "object", "properties": members, "required": ["command"], "additionalProperties": False}
    return {
        "operationId": "write",
        "summary": "insert, update, delete, sql, and every read",
        "description": (
            "With command in the URL the body of insert and update is the data, for other commands it holds "
            "parameters. Without command there, the body holds all parameters: a form, or a JSON object with "
            '"rows" or "set" as the data. A body of any other type that is a JSON object, bare or URL-encoded, is '
            "the row of an insert. application/x-ndjson is a bulk load, applied while it arrives."
        ),
        "parameters": _query_parameters(settings),
        "requestBody": {
            "required": False,
            "content": {
                "application/json": {"schema": {"anyOf": [request, row, rows]}},
                "application/x-ndjson": {"schema": {"type": "string", "description": "one JSON object a line"}},
                "application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": members}},
            },
        },
        "responses": _replies(
            _ref("Inserted"), _ref("Updated"), _ref("Deleted"), _ref("Executed"),
            _ref("Page"), _ref("Count"), _ref("Groups"), _ref("Plan"),
        ) | _found(_ref("Hinted"), "202"),
    }  # fmt: skip  # one line of writes, one of reads


def _metrics() -> dict[str, Any]:
    return {
        "operationId": "metrics",
        "summary": "what is counted, for Prometheus",
        "responses": {
            "200": {
                "description": "its text format, or OpenMetrics when Accept asks for it",
                "content": {
                    kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/openmetrics-text")
                },
            },
            "default": {"$ref": "#/components/responses/Error"},
        },
    }


def _backup() -> dict[str, Any]:
    return {
        "operationId": "backup",
        "summary": "a consistent copy of the running store, one SQLite file",
        "responses": {
            "200": {
                "description": "the file",
                "content": {"application/vnd.sqlite3": {"schema": {"type": "string", "format": "binary"}}},
            },
            "default": {"$ref": "#/components/responses/Error"},
        },
    }


def _reload() -> dict[str, Any]:
    names = {"type": "array", "items": {"type": "string"}}
    parts = {"type": "object", "properties": dict.fromkeys(("added", "changed", "removed"), names)}
    said = {
        "type": "object",
        "required": ["published", "sources", "certificate", "at_next_start"],
        "properties": {
            "published": parts,
            "sources": parts,
            "certificate": {"type": ["string", "null"]},
            "at_next_start": names,
        },
    }
    return {
        "operationId": "reload",
        "summary": "read the configuration file again: published queries, sources and the certificate; "
        "a mistake in it is answered 400 and changes nothing",
        "responses": _found(said),
    }


def _any_published() -> dict[str, Any]:
    replies = tuple(_ref(name) for name in ("Page", "Count", "Groups"))
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "operationId": "published",
        "summary": "a published query by its name: what the configuration lets everybody ask",
        "parameters": [name],
        "responses": _replies(*replies),
    }


def _published(query: Described) -> dict[str, Any]:
    return {
        "operationId": f"published_{query.name}",
        "summary": query.summary,
        "parameters": query.parameters,
        "responses": _replies(*(_ref(name) for name in query.replies)),
    }


def _sources() -> dict[str, Any]:
    return {
        "operationId": "sources",
        "summary": "the sources that tables follow: state, age, lag, each table's copy, the last verification",
        "responses": _found({"type": "array", "items": _ref("Source")}),
    }


def _source() -> dict[str, Any]:
    return {
        "operationId": "source",
        "summary": "one source",
        "parameters": [_SOURCE_NAME],
        "responses": _found(_ref("Source")),
    }


def _act() -> dict[str, Any]:
    meanings = "; ".join(f"{action}: {meaning}" for action, meaning in ACTIONS.items())
    action = {"name": "action", "in": "query", "required": True, "description": meanings}
    table = {"name": "table", "in": "query", "description": "this table alone", "schema": {"type": "string"}}
    return {
        "operationId": "act",
        "summary": "verify, repair or recopy what follows a source, or accept what it asks; the state tells the rest",
        "parameters": [_SOURCE_NAME, action | {"schema": {"enum": list(ACTIONS)}}, table],
        "responses": _found(_ref("Source"), "202"),
    }


def _found(schema: Mapping[str, Any], status: str = "200") -> dict[str, Any]:
    reply = {"description": "the state", "content": {"application/json": {"schema": schema}}}
    return {status: reply, "default": {"$ref": "#/components/responses/Error"}}


def _document(name: str, about: str, members: Mapping[str, Any], others: tuple[int, ...] = ()) -> dict[str, Any]:
    schema = {"type": "object", "properties": dict(members)}
    reply = {"description": about, "content": {"application/json": {"schema": schema}}}
    replies = {"200": reply} | {
        str(status): {"description": "not yet; see Retry-After", "content": {"application/json": {"schema": {}}}}
        for status in others
    }
    return {"get": {"operationId": name, "summary": about, "responses": replies}}


def _replies(*bodies: dict[str, str]) -> dict[str, Any]:
    replies: dict[str, Any] = {
        "200": {
            "description": "done",
            "headers": {f"TCSQL-{name}": {"$ref": f"#/components/headers/{name}"} for name in _headers()},
            "content": {"application/json": {"schema": {"anyOf": list(bodies)}}},
        }
    }
    by_status: dict[int, list[str]] = {}
    for found in error_classes():
        by_status.setdefault(found.status, []).append(found.code)
    for status, codes in sorted(by_status.items()):
        replies[str(status)] = {
            "description": ", ".join(codes),
            "content": {"application/json": {"schema": _ref("Error")}},
        }
    return replies


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


_SOURCE_NAME: Final = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_COUNTED: Final = {"type": "integer", "minimum": 0}
_CURSOR: Final = {"type": ["string", "null"], "description": "opaque; for after and before"}


def _schemas() -> dict[str, Any]:
    rows = {"type": "array", "items": {"type": "object"}}
    total = {"type": ["integer", "null"], "description": "null when only a scan would tell; see total=1"}
    codes = [found.code for found in error_classes()]
    error = _object(
        {"code": {"enum": codes}, "message": {"type": "string"}},
        hint={"type": "string"},
        line={"type": "integer", "description": "bulk load: the line that was refused"},
        applied={"type": "integer", "description": "bulk load: rows that are stored all the same"},
    )
    return {
        "Page": _object({"total": total, "next": _CURSOR, "prev": _CURSOR, "rows": rows}),
        "Count": _object({"count": _COUNTED}),
        "Groups": _object({"total": _COUNTED, "rows": rows}),
        "Plan": {"type": "object", "description": "the chosen run, the alternatives, rows examined, time"},
        "Inserted": _object(
            {"inserted": _COUNTED, "replaced": _COUNTED, "lsn": _COUNTED},
            lines=_COUNTED,
            last_insert_id={"type": "integer"},
        ),
        "Updated": _object({"updated": _COUNTED, "lsn": _COUNTED}),
        "Deleted": _object({"deleted": _COUNTED, "lsn": _COUNTED}),
        "Hinted": _object({"hints": _COUNTED}),
        "Source": _object({"name": {"type": "string"}, "state": {"type": "string"}}),
        "Executed": _object({"statements": _COUNTED, "lsn": _COUNTED}),
        "Error": _object({"error": error}),
        "Operator": {"enum": [operator.value for operator in Operator]},
        "Order": {"enum": list(ORDERS)},
        "Aggregate": {"enum": list(FUNCTIONS)},
        "Command": {"enum": list(COMMANDS)},
    }


def _headers() -> dict[str, Any]:
    lsn = "storeid-lsn: the newest durable write that this answer can have seen; give it to min_lsn"
    age = (
        "only with sources: the data is as its source was so many ms ago (of the oldest source, told to 0.1 s); "
        "left out while a first copy is under way"
    )
    stale = (
        "names, joined by commas, of the sources whose data is older than their stale_ms or not copied yet, "
        "or of which a table cannot be followed"
    )
    return {
        "Lsn": {"description": lsn, "schema": {"type": "string"}},
        "Age-Ms": {"description": age, "schema": {"type": "integer", "minimum": 0}},
        "Stale": {"description": stale, "schema": {"type": "string"}},
    }


def _responses() -> dict[str, Any]:
    return {"Error": {"description": "refused", "content": {"application/json": {"schema": _ref("Error")}}}}
