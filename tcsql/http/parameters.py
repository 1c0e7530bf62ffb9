"""Parameters: what a client may say, and how query strings, forms and JSON objects say it. Pure.

``PARAMETERS`` is the one table of names, with the commands that take them; the grammar, the refusals and
``/openapi.json`` read it. Three spellings give the same ``Parameters``:

    of_query(b"command=select&where=uid:NUMEQ:5")        a query string, percent-decoded exactly once
    of_query(body)                                       a form: the same grammar
    of_json({"command": "select", "where": [...]})       one JSON object

Decoding is our own: strict where ``urllib`` guesses (a broken ``%zz`` or bytes that are not UTF-8 are refused
with their place), and about twice as fast as ``parse_qsl`` on a list query. Cost: a few hundred nanoseconds a
parameter; a value without ``%`` and ``+`` is not copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tcsql.errors import BadRequest, did_you_mean

#: Every command of the API, in the order of the documentation.
READS: Final = ("select", "explain")
WRITES: Final = ("insert", "update", "delete", "sql", "hint")
COMMANDS: Final = (*READS, *WRITES)
#: What a trigger saw: insert, update, delete. The row is read again whatever it was.
HINT_OPS: Final = ("I", "U", "D")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: the commands that take it and, for the reference, its meaning and an example."""

    name: str
    meaning: str
    commands: tuple[str, ...] = READS
    example: str = ""
    values: tuple[str, ...] = ()
    repeatable: bool = False
    default: str = ""


_ORDERS: Final = "NUMASC, NUMDESC, STRASC or STRDESC"

PARAMETERS: Final[Mapping[str, Parameter]] = {
    parameter.name: parameter
    for parameter in (
        Parameter("command", "what to do", COMMANDS, "select", COMMANDS),
        Parameter(
            "table",
            "which table; may be left out when the server has one table or a default table",
            ("select", "explain", "insert", "update", "delete", "hint"),
            "posts",
        ),
        Parameter(
            "type",
            "* = all columns; count = the number of matching rows; a comma list of columns; "
            "a comma list of the aggregates count, sum(c), avg(c), min(c), max(c)",
            example="*",
            default="*",
        ),
        Parameter(
            "where",
            "conditions column:OPERATOR:expression joined by |, all must hold; "
            "given several times, a row matches if any of them holds",
            ("select", "explain", "update", "delete"),
            "dateline:NUMGE:1262304000|idtype:STREQ:blogid",
            repeatable=True,
        ),
        Parameter(
            "group_by",
            "a comma list of columns: totals for each combination of their values",
            example="idtype",
        ),
        Parameter(
            "order_by",
            "a comma list of columns; of groups: group columns or aggregates. "
            "Without it rows come in the order of the primary key",
            example="dateline",
        ),
        Parameter(
            "order_sort",
            f"a comma list as long as order_by, of {_ORDERS}",
            example="NUMDESC",
        ),
        Parameter("limit_skip", "rows to skip", example="0", default="0"),
        Parameter(
            "limit_max",
            "rows on a page; 0 gives the total alone",
            example="10",
            default="100",
        ),
        Parameter(
            "after",
            "the cursor next of an earlier reply to the same query: the page behind it",
        ),
        Parameter(
            "before",
            "the cursor prev of an earlier reply to the same query: the page in front of it",
        ),
        Parameter(
            "total",
            "1 = the exact total even if it costs a scan",
            values=("0", "1"),
            default="0",
        ),
        Parameter(
            "bigint",
            "string = integers beyond 2^53 as JSON strings, for JavaScript",
            values=("number", "string"),
            default="number",
        ),
        Parameter(
            "min_lsn",
            "wait until this write is durable here, then read: a number lsn of a reply, "
            "or the header TCSQL-Lsn, which also recognises another server",
            example="1042",
        ),
        Parameter(
            "all",
            "1 = yes, every row: needed when there is no where",
            ("update", "delete"),
            "1",
            ("0", "1"),
        ),
        Parameter(
            "trusted",
            "1 = the rows come from MySQL, in the form of a reply's rows: whatever MySQL could store is kept, "
            "zero dates and values beyond their type included",
            ("insert",),
            "1",
            ("0", "1"),
        ),
        Parameter(
            "rows",
            "the rows to insert, a JSON object or an array of objects; "
            "not needed when the body of the POST is the data",
            ("insert",),
            '[{"id": 1, "title": "one"}]',
        ),
        Parameter(
            "set",
            "the columns to change, a JSON object; not needed when the body of the POST is the data",
            ("update",),
            '{"title": "two"}',
        ),
        Parameter(
            "sql",
            "one or more statements: CREATE, ALTER, DROP, RENAME, TRUNCATE TABLE, CREATE and DROP INDEX",
            ("sql",),
            "CREATE TABLE posts (id INT PRIMARY KEY, title TEXT)",
        ),
        Parameter("source", "of which source rows may have changed", ("hint",), "shop"),
        Parameter("op", "what the trigger saw: insert, update or delete", ("hint",), "U", HINT_OPS, default="U"),
    )
}


#: What other programs call a key in their URLs.
_LIKE_KEYS: Final = frozenset(("key", "api_key", "apikey", "token", "access_token", "authorization", "auth"))
_KEYS_TRAVEL: Final = "a key is sent in the header Authorization: Bearer, never in the URL"


@dataclass(slots=True)
class Parameters:
    """Decoded parameters: scalars by name, and every ``where`` in the order given."""

    values: dict[str, str] = field(default_factory=dict)
    where: list[str] = field(default_factory=list)

    def add(self, name: str, value: str) -> None:
        """One more parameter; raises BadRequest when it is unknown or a scalar is given twice."""
        if name == "where":
            self.where.append(value)
        elif name in PARAMETERS:
            if name in self.values:
                raise BadRequest(
                    f'parameter "{name}" is given more than once',
                    "only where may be repeated",
                )
            self.values[name] = value
        else:
            hint = _KEYS_TRAVEL if name.lower() in _LIKE_KEYS else did_you_mean(name, PARAMETERS)
            raise BadRequest(f'unknown parameter "{name[:64]}"', hint)

    def merge(self, other: Parameters) -> None:
        """Add those of another source; a scalar that both have is refused."""
        for name, value in other.values.items():
            self.add(name, value)
        self.where += other.where


def of_query(raw: bytes, source: str = "the query string") -> Parameters:
    """Parameters of a query string or a form; raises BadRequest with the place of what is wrong.

    >>> of_query(b"command=select&where=title:STREQ:a%7Cb+c&where=").where
    ['title:STREQ:a|b c', '']
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"{source} is not UTF-8 at byte {error.start}") from None
    parameters = Parameters()
    values, where = parameters.values, parameters.where
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if "%" in part or "+" in part:
            name = percent_decoded(name, f"a parameter name of {source}")
            value = percent_decoded(value, f'parameter "{name[:64]}"')
        if name == "where":
            where.append(value)
        elif name in PARAMETERS and name not in values:  # the common case, without a call
            values[name] = value
        elif part:
            parameters.add(name, value)
    return parameters


def of_json(members: Mapping[str, object]) -> Parameters:
    """Parameters of a JSON object: numbers and booleans as their text, lists joined by commas, null left out.

    A list under ``where`` gives several of them. Raises BadRequest for an object where a value should be.
    """
    parameters = Parameters()
    for name, value in members.items():
        if value is None and name in PARAMETERS:
            continue
        if name == "where" and isinstance(value, list):
            parameters.where += [_scalar(name, item) for item in value]
        elif isinstance(value, list):
            parameters.add(name, ",".join(_scalar(name, item) for item in value))
        else:
            parameters.add(name, _scalar(name, value) if name in PARAMETERS else "")
    return parameters


def _scalar(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int):
        return str(value)
    shown = "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)[:60]
    raise BadRequest(
        f'parameter "{name[:64]}" cannot be {shown}',
        "a text, a whole number, true or false is expected",
    )


_DIGITS: Final = "0123456789abcdefABCDEF"
_ASCII: Final = {high + low: chr(int(high + low, 16)) for high in "01234567" for low in _DIGITS}
_BYTES: Final = {(high + low).encode(): bytes.fromhex(high + low) for high in _DIGITS for low in _DIGITS}


def percent_decoded(text: str, where: str) -> str:
    """``%41`` and ``+`` decoded once; raises BadRequest that names ``where`` and the character counted from 0.

    >>> percent_decoded("%E4%BD%A0+%25", "parameter x")
    '你 %'
    """
    if "+" in text:
        text = text.replace("+", " ")
    pieces = text.split("%")
    try:
        return pieces[0] + "".join([_ASCII[piece[:2]] + piece[2:] for piece in pieces[1:]])
    except KeyError:  # not ASCII, or not hexadecimal: the careful way finds out
        return _decode_bytes(text, where)


def _decode_bytes(text: str, where: str) -> str:
    pieces = text.encode().split(b"%")
    for number, piece in enumerate(pieces[1:], 1):
        if piece[:2] not in _BYTES:
            place = len(b"%".join(pieces[:number]).decode())
            raise BadRequest(
                f'invalid percent-encoding "{text[place : place + 3]}" in {where} at character {place}',
                "write a literal % as %25",
            )
    decoded = pieces[0] + b"".join(_BYTES[piece[:2]] + piece[2:] for piece in pieces[1:])
    try:
        return decoded.decode()
    except UnicodeDecodeError as error:
        place = _raw_place(pieces, error.start)
        raise BadRequest(f"{where} is not UTF-8 at character {place}: {text[place : place + 3]}") from None


def _raw_place(pieces: Iterable[bytes], decoded_place: int) -> int:
    """Where the decoded byte stood in the text as sent, in characters."""
    raw = b"%".join(pieces)
    place = 0
    for _ in range(decoded_place):
        place += 3 if raw[place : place + 1] == b"%" else 1
    return len(raw[:place].decode())
