"""The text of the file of keys: JSON, read strictly, so that no limit of a key is lost by a slip of the pen. Pure.

    {"format": 1, "keys": [{"id": "3f9a0c12", "name": "web", "sha256": "...", "scopes": ["read"], "made": "..."}]}

A member that nobody knows, one that stands twice, or one of another kind is an error that names its place; a file of a
newer format is refused as a whole. Members that say nothing are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tcsql.access.keys import ID, Key, Keys
from tcsql.access.scopes import Scope
from tcsql.errors import SetupError, did_you_mean

FORMAT: Final = 1
RESTORE: Final = "put back what it was, or remove it and make other keys: tcsql key make"


class _Wrong(Exception):
    """What a value should have been."""


def text_of(ring: Keys) -> str:
    """The file's text; ``ring_of`` reads it back."""
    return json.dumps({"format": FORMAT, "keys": [_entry(key) for key in ring]}, indent=1) + "\n"


def ring_of(text: str, name: str = "keys.json") -> Keys:
    """The keys of a file; ``name`` stands in errors. Raises SetupError for all that is not exactly as we write it."""
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{name} is damaged: {error}", RESTORE) from None
    if not isinstance(document, dict) or type(document.get("format")) is not int:
        raise SetupError(f"{name} is damaged: it says no format", RESTORE)
    if document["format"] > FORMAT:
        raise SetupError(f"{name} was written by a newer TCSQL, format {document['format']}", "use that version")
    if document["format"] != FORMAT or document.keys() != {"format", "keys"} or not isinstance(document["keys"], list):
        raise SetupError(f'{name} is damaged: it should be {{"format": {FORMAT}, "keys": [...]}}', RESTORE)
    keys = [_key(entry, f"{name}: keys[{number}]") for number, entry in enumerate(document["keys"])]
    try:
        return Keys(keys)
    except SetupError as error:
        raise SetupError(f"{name}: {error.message}", RESTORE) from None


def date_text(moment: int) -> str:
    """A moment as the file and the commands spell it.

    >>> date_text(0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(key: Key) -> dict[str, object]:
    """What may be shown of a key: all but what its secrets hash to."""
    return {name: value for name, value in _entry(key).items() if not name.endswith("sha256")}


def _entry(key: Key) -> dict[str, object]:
    whole: dict[str, object] = {
        "id": key.id,
        "name": key.name,
        "sha256": key.sha256.hex(),
        "scopes": [scope.value for scope in Scope if scope in key.scopes],
        "tables": None if key.tables is None else sorted(key.tables),
        "columns": {table: list(columns) for table, columns in key.columns} or None,
        "filters": dict(key.filters) or None,
        "rate": key.rate,
        "burst": key.burst,
        "max_rows": key.max_rows,
        "budget_rows": key.budget_rows,
        "made": date_text(key.made),
        **{name: None if (date := getattr(key, name)) is None else date_text(date) for name in _DATES},
        "old_sha256": None if key.old_sha256 is None else key.old_sha256.hex(),
    }
    return {name: value for name, value in whole.items() if value is not None}


_DATES: Final = ("expires", "revoked", "rotated", "old_until")


def _key(entry: object, place: str) -> Key:
    if not isinstance(entry, dict):
        raise SetupError(f"{place} is no key", RESTORE)
    values: dict[str, Any] = {}
    for name, value in entry.items():
        if name not in _READERS:
            raise SetupError(f"{place}.{name[:40]} is not known", did_you_mean(name, _READERS) or RESTORE)
        try:
            values[name] = _READERS[name](value)
        except _Wrong as wrong:
            raise SetupError(f"{place}.{name} should be {wrong}", RESTORE) from None
    for name in ("id", "name", "sha256", "scopes", "made"):
        if name not in values:
            raise SetupError(f"{place} has no {name}", RESTORE)
    if ("old_sha256" in values) != ("old_until" in values):
        raise SetupError(f"{place}: old_sha256 and old_until belong together", RESTORE)
    return Key(**values)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _id(value: object) -> str:
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise _Wrong("8 hexadecimal digits")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Wrong("a text")
    return value


def _digest(value: object) -> bytes:
    if not isinstance(value, str) or len(value) != 64 or value.strip("0123456789abcdef"):
        raise _Wrong("64 hexadecimal digits")
    return bytes.fromhex(value)


def _list(value: object, what: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise _Wrong(f"a list of {what}")
    if len(set(value)) < len(value):
        raise _Wrong(f"a list of {what}, each once")
    return value


def _scopes(value: object) -> frozenset[Scope]:
    try:
        return frozenset(map(Scope, _list(value, "scopes")))
    except ValueError:
        raise _Wrong(f"a list of scopes: {', '.join(Scope)}") from None


def _tables(value: object) -> frozenset[str]:
    return frozenset(_list(value, "tables"))


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict) or not value:
        raise _Wrong(what)
    return value


def _columns(value: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    tables = _object(value, "columns by table")
    return tuple(sorted((table, tuple(_list(columns, "columns"))) for table, columns in tables.items()))


def _filters(value: object) -> tuple[tuple[str, str], ...]:
    found = []
    for table, where in _object(value, "conditions by table").items():
        if not isinstance(where, str):
            raise _Wrong("conditions by table")
        found.append((table, where))
    return tuple(sorted(found))


def _number(value: object) -> float:
    if type(value) not in (int, float):
        raise _Wrong("a number")
    assert isinstance(value, (int, float))
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise _Wrong("a whole number")
    return value


def _date(value: object) -> int:
    try:
        return int(datetime.strptime(_text(value), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise _Wrong("a date as 2027-01-01T00:00:00Z") from None


_READERS: Final[Mapping[str, Callable[[object], object]]] = {
    "id": _id,
    "name": _text,
    "sha256": _digest,
    "old_sha256": _digest,
    "scopes": _scopes,
    "tables": _tables,
    "columns": _columns,
    "filters": _filters,
    "rate": _number,
    "burst": _number,
    "max_rows": _whole,
    "budget_rows": _whole,
    **dict.fromkeys(("made", *_DATES), _date),
}
