"""Every error TCSQL can answer with, as one tree cut by who must act.

    TCSQLError
    ├── CallerError            the client sent something wrong: change the request
    │   ├── BadRequest             400 bad_request           malformed bytes: encoding, number, JSON, parameter
    │   ├── UnknownTable           404 unknown_table         no table of that name
    │   ├── UnknownColumn          400 unknown_column        no column of that name in the table
    │   ├── UnknownOperator        400 unknown_operator      not an operator of a condition
    │   ├── UnknownOrder           400 unknown_order         not one of the four orders
    │   ├── UnknownCommand         400 unknown_command       not a command
    │   ├── UnknownIndex           404 unknown_index         no index of that name
    │   ├── InvalidValue           400 invalid_value         a value that its column cannot hold
    │   ├── InvalidPattern         400 invalid_pattern       a regular expression RE2 does not take
    │   ├── InvalidCursor          400 invalid_cursor        not ours, of another query, or with limit_skip
    │   ├── LimitExceeded          400 limit_exceeded        more rows asked for than max_rows
    │   ├── WhereRequired          400 where_required        a delete or update of every row that does not say so
    │   ├── SqlSyntax              400 sql_syntax            with line and column
    │   ├── UnsupportedStatement   400 unsupported_statement not a schema statement, or one beyond us
    │   ├── SchemaConflict         409 schema_conflict       a name that exists already, or is in use
    │   ├── NotFound               404 not_found             no such path
    │   ├── MethodNotAllowed       405 method_not_allowed    the path does not take this method
    │   ├── GetWritesOff           405 get_writes_off        a write by GET, which the settings do not allow
    │   ├── PayloadTooLarge        413 payload_too_large     a body or a line above its limit
    │   ├── UnsupportedEncoding    415 unsupported_encoding  a compressed body
    │   ├── Unauthorized           401 unauthorized          a key or token that is missing or not right
    │   ├── Forbidden              403 forbidden             a key whose scopes do not allow this
    │   ├── RowForbidden           403 row_forbidden         a write to a row outside the key's filter
    │   ├── UriTooLong             414 uri_too_long          a target above max_url_bytes
    │   ├── HeadersTooLarge        431 headers_too_large     a head above max_header_bytes or max_headers
    │   ├── TooSlow                408 too_slow              a head or a body that takes too long to come
    │   ├── Busy                   409 busy                  one such job is running already
    │   ├── FollowedTable          409 followed_table        a write to a table that follows MySQL
    │   ├── MisdirectedRequest     421 misdirected_request   a Host that is not ours
    │   ├── NotLocal               403 not_local             through a proxy, while there are no keys
    │   ├── CrossSite              403 cross_site            a page of another site wants to change something
    │   ├── ReplyTooLarge          422 reply_too_large       rows that are longer than max_reply_bytes together
    │   └── TooCostly              422 too_costly            above the work budget; the hint names the index
    ├── RetryLater             nobody is at fault: the same request succeeds later
    │   ├── NotReady               503 not_ready             still recovering
    │   ├── Stopping               503 stopping              shutting down
    │   ├── WaitTimeout            503 wait_timeout          min_lsn not reached in time
    │   ├── SourceAway             503 source_away           a source of rows does not answer; tried again
    │   ├── RateLimited            429 rate_limited          more requests than this key or address may send
    │   └── Overloaded             503 overloaded            more work than can be queued
    └── OperatorError          somebody must look at the machine
        ├── NoSpace                507 no_space              disk full; writes resume when space is back
        ├── NoMemory               507 no_memory             memory budget reached; reads go on
        ├── ReadOnly               503 read_only             an I/O error made the store read-only
        ├── OutcomeUnknown         500 outcome_unknown       may be done or not; an insert can be repeated
        ├── StoreDamaged           exit 3 store_damaged      what is in the file cannot be trusted
        ├── StoreNewer             exit 3 store_newer        written by a newer TCSQL
        ├── SchemaMismatch         exit 3 schema_mismatch    the store and schema.sql disagree
        ├── SourceFault            exit 2 source_fault       a source cannot be followed until somebody acts
        └── SetupError             exit 2 setup_error        surroundings: lock, rights, port, configuration

``code`` is stable and part of the contract; ``message`` is for people and may change.
A bug is an AssertionError and never one of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class TCSQLError(Exception):
    """Base of all: ``message`` for people, ``hint`` says what to do, ``extra`` goes into the reply."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str | None = None, **extra: int | str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.extra = extra


class CallerError(TCSQLError):
    code = "bad_request"
    status = 400


class BadRequest(CallerError):
    pass


class UnknownTable(CallerError):
    code = "unknown_table"
    status = 404


class UnknownColumn(CallerError):
    code = "unknown_column"


class UnknownOperator(CallerError):
    code = "unknown_operator"


class UnknownOrder(CallerError):
    code = "unknown_order"


class UnknownCommand(CallerError):
    code = "unknown_command"


class UnknownIndex(CallerError):
    code = "unknown_index"
    status = 404


class InvalidValue(CallerError):
    code = "invalid_value"


class InvalidPattern(CallerError):
    code = "invalid_pattern"


class InvalidCursor(CallerError):
    code = "invalid_cursor"


class LimitExceeded(CallerError):
    code = "limit_exceeded"


class WhereRequired(CallerError):
    code = "where_required"


class SqlSyntax(CallerError):
    code = "sql_syntax"


class UnsupportedStatement(CallerError):
    code = "unsupported_statement"


class SchemaConflict(CallerError):
    code = "schema_conflict"
    status = 409


class NotFound(CallerError):
    code = "not_found"
    status = 404


class MethodNotAllowed(CallerError):
    code = "method_not_allowed"
    status = 405


class GetWritesOff(CallerError):
    code = "get_writes_off"
    status = 405


class PayloadTooLarge(CallerError):
    code = "payload_too_large"
    status = 413


class UnsupportedEncoding(CallerError):
    code = "unsupported_encoding"
    status = 415


class Unauthorized(CallerError):
    code = "unauthorized"
    status = 401


class Forbidden(CallerError):
    code = "forbidden"
    status = 403


class RowForbidden(CallerError):
    code = "row_forbidden"
    status = 403


class UriTooLong(CallerError):
    code = "uri_too_long"
    status = 414


class HeadersTooLarge(CallerError):
    code = "headers_too_large"
    status = 431


class TooSlow(CallerError):
    code = "too_slow"
    status = 408


class Busy(CallerError):
    code = "busy"
    status = 409


class FollowedTable(CallerError):
    code = "followed_table"
    status = 409


class MisdirectedRequest(CallerError):
    code = "misdirected_request"
    status = 421


class NotLocal(CallerError):
    code = "not_local"
    status = 403


class CrossSite(CallerError):
    code = "cross_site"
    status = 403


class ReplyTooLarge(CallerError):
    code = "reply_too_large"
    status = 422


class TooCostly(CallerError):
    code = "too_costly"
    status = 422


class RetryLater(TCSQLError):
    code = "overloaded"
    status = 503


class NotReady(RetryLater):
    code = "not_ready"


class Stopping(RetryLater):
    code = "stopping"


class WaitTimeout(RetryLater):
    code = "wait_timeout"


class SourceAway(RetryLater):
    code = "source_away"


class RateLimited(RetryLater):
    code = "rate_limited"
    status = 429


class Overloaded(RetryLater):
    pass


class OperatorError(TCSQLError):
    code = "internal"
    status = 500


class NoSpace(OperatorError):
    code = "no_space"
    status = 507


class NoMemory(OperatorError):
    code = "no_memory"
    status = 507


class ReadOnly(OperatorError):
    code = "read_only"
    status = 503


class OutcomeUnknown(OperatorError):
    code = "outcome_unknown"


class StoreDamaged(OperatorError):
    code = "store_damaged"
    exit_code = 3


class StoreNewer(OperatorError):
    code = "store_newer"
    exit_code = 3


class SchemaMismatch(OperatorError):
    code = "schema_mismatch"
    exit_code = 3


class SourceFault(OperatorError):
    code = "source_fault"
    exit_code = 2


class SetupError(OperatorError):
    code = "setup_error"
    exit_code = 2


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The hint for a mistyped name, or None when nothing is near.

    >>> did_you_mean("titel", ["id", "title", "uid"])
    'did you mean "title"?'
    """
    candidates = list(known)
    folded = {candidate.lower(): candidate for candidate in candidates}
    near = get_close_matches(name[:64].lower(), folded, n=1, cutoff=0.6)
    return f'did you mean "{folded[near[0]]}"?' if near else None
