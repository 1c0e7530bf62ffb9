"""What HTTP says and asks about the sources that tables follow: their state, the age of data, hints, and actions.

    GET  /sources                                        all of them, as in /status
    GET  /sources/shop                                   one
    POST /sources/shop?action=verify&table=posts         202, and the state; ``ACTIONS``
    POST /?command=hint&source=shop&table=posts&op=U     202; keys joined by line feeds, Authorization: Bearer TOKEN

The followers are an object of the server's, known here by what is asked of it alone (``Followers``). What changes the
age of data tells so, and the headers of replies are made anew when the next one is sent: nothing is looked up for a
reply, and without a source nothing is done at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from tcsql.errors import BadRequest, NotFound, Unauthorized, did_you_mean
from tcsql.http.messages import Head, Header
from tcsql.http.names import REMEMBERED
from tcsql.http.parameters import HINT_OPS, of_query, percent_decoded

#: What an operator may ask of a source, with its meaning.
ACTIONS: Final[dict[str, str]] = {
    "verify": "compare with the source, row for row",
    "repair": "the same, and write what differs",
    "recopy": "copy anew, beside the rows that go on answering",
    "accept": "yes: to another server behind the url, or to more than half of the rows going",
}
AGE_HEADER: Final = b"tcsql-age-ms"
STALE_HEADER: Final = b"tcsql-stale"
PREFIX: Final = "/sources/"
#: Of more the token is looked at before the keys are: a megabyte of line ends takes 10 ms.
MOST_UNPROVEN_BYTES: Final = 4_096
_BEARER: Final = "bearer "


class Followers(Protocol):
    """All followers of a server. Everything is called on the event loop's thread, and answers at once."""

    def on_fresh(self, listener: Callable[[], None]) -> None:
        """Call ``listener()`` whenever ``freshness`` may say something else, and ten times a second."""

    def status(self) -> Sequence[dict[str, object]]:
        """One entry a source, with at least ``name`` and ``state``."""

    def freshness(self) -> tuple[int | None, tuple[str, ...]] | None:
        """Age of the oldest source's data in ms (None: not copied yet), and the stale sources; None without any."""

    def act(self, source: str, action: str, table: str | None = None) -> dict[str, object]:
        """Begin what an operator asks for; the state after it. Raises errors for callers."""

    def hint(self, source: str, token: bytes, table: str, keys: Sequence[str], lost: int = 0) -> int:
        """Rows may have changed; how many hints were taken. ``lost``: others before were not. Raises caller errors.

        No keys: nothing is done, only what would be refused is.
        """


class NoFollowers:
    """Of a server without sources."""

    def on_fresh(self, listener: Callable[[], None]) -> None:
        """Nothing ever changes."""

    def status(self) -> Sequence[dict[str, object]]:
        return ()

    def freshness(self) -> None:
        return None

    def act(self, source: str, action: str, table: str | None = None) -> dict[str, object]:
        raise _no_source(source, ())

    def hint(self, source: str, token: bytes, table: str, keys: Sequence[str], lost: int = 0) -> int:
        raise _no_source(source, ())


NO_FOLLOWERS: Final = NoFollowers()


def _no_source(name: str, known: Iterable[str]) -> NotFound:
    hint = did_you_mean(name, known) or f"write [source.{name}] into tcsql.toml" if name.isidentifier() else None
    return NotFound(f'no source "{name[:64]}"', hint)


def age_headers(followers: Followers) -> tuple[Header, ...]:
    """How old the data of a reply may be: nothing without sources."""
    found = followers.freshness()
    if found is None:
        return ()
    age_ms, stale = found
    headers: tuple[Header, ...] = () if age_ms is None else ((AGE_HEADER, b"%d" % age_ms),)
    return (*headers, (STALE_HEADER, ",".join(stale).encode())) if stale else headers


def source_state(followers: Followers, name: str) -> dict[str, object]:
    """The entry of one source; raises NotFound."""
    entries = {str(entry["name"]): entry for entry in followers.status()}
    if name not in entries:
        raise _no_source(name, entries)
    return entries[name]


def act(followers: Followers, name: str, query: bytes) -> dict[str, object]:
    """``POST /sources/NAME``: the state after the action; raises what the followers raise, and BadRequest."""
    given = _pairs(query, ("action", "table"))
    action = given.get("action", "")
    source_state(followers, name)  # a name that is not known is the first thing to be told
    if action not in ACTIONS:
        said = f'no action "{action[:64]}"' if action else "no action"
        raise BadRequest(said, did_you_mean(action, ACTIONS) or f"add ?action={'|'.join(ACTIONS)}")
    return followers.act(name, action, given.get("table"))


def _pairs(query: bytes, known: Sequence[str]) -> dict[str, str]:
    try:
        parts = [part.partition("=") for part in query.decode().split("&") if part]
    except UnicodeDecodeError as error:
        raise BadRequest(f"the query string is not UTF-8 at byte {error.start}") from None
    pairs: dict[str, str] = {}
    for name, _, value in parts:
        if name not in known or name in pairs:
            wrong = "is given more than once" if name in pairs else "is not known"
            raise BadRequest(f'parameter "{name[:64]}" {wrong}', did_you_mean(name, known))
        pairs[name] = percent_decoded(value, f'parameter "{name}"')
    return pairs


class _Target(NamedTuple):
    source: str
    table: str


class _Hint(NamedTuple):
    source: str
    token: bytes
    table: str


def _handed(followers: Followers, hint: _Hint, keys: Sequence[str], lost: int = 0) -> int:
    """How many were taken. Whoever has no token learns nothing, not even whether there is such a source."""
    try:
        return followers.hint(hint.source, hint.token, hint.table, keys, lost)
    except (NotFound, Unauthorized):
        raise Unauthorized(
            "the token of the hint is not that of the source",
            'a source of that name, with mode = "push" and the push_token of push.conf, has to stand in tcsql.toml',
        ) from None


class HintReader:
    """Reads hints. Triggers send the same query string for every row of a table, so what it means is remembered."""

    def __init__(self) -> None:
        self._targets: dict[bytes, _Target] = {}

    def give(self, followers: Followers, head: Head, body: bytes) -> int:
        """Hand one request's keys to the followers; how many were taken. 1 us. Raises errors for callers."""
        if len(body) > MOST_UNPROVEN_BYTES:
            self.require(followers, head)
        hint = self._meant(head)
        try:
            keys = body.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise BadRequest(f"the keys are not ASCII at byte {error.start}", "they are made by the triggers") from None
        return _handed(followers, hint, keys, head.lost)

    def require(self, followers: Followers, head: Head) -> None:
        """Raise what ``give`` would raise whatever the keys are: before they are read."""
        _handed(followers, self._meant(head), ())

    def _meant(self, head: Head) -> _Hint:
        source, table = self._targets.get(head.query) or self._target(head.query)
        scheme, token = head.authorization[: len(_BEARER)], head.authorization[len(_BEARER) :]
        if scheme.lower() != _BEARER:
            raise Unauthorized("a hint needs the token of its source", "send Authorization: Bearer TOKEN")
        return _Hint(source, token.strip().encode(), table)

    def _target(self, query: bytes) -> _Target:
        parameters = of_query(query)
        values = parameters.values
        for name in values.keys() - {"command", "source", "table", "op"} or (["where"] if parameters.where else []):
            raise BadRequest(f"hint takes no parameter {name}", "hint takes: source, table, op")
        for name in ("source", "table"):
            if not values.get(name):
                raise BadRequest(f"hint without a {name}", "hint takes: source, table, op")
        if values.get("op", "U") not in HINT_OPS:
            raise BadRequest(f'op="{values["op"][:40]}" is not known', f"op is one of: {', '.join(HINT_OPS)}")
        if len(self._targets) >= REMEMBERED:
            self._targets.clear()
        found = self._targets[query] = _Target(values["source"], values["table"])
        return found


def is_hint(query: bytes) -> bool:
    """Whether a query string asks for ``hint``, spelt as triggers do."""
    return query.startswith(b"command=hint&")
