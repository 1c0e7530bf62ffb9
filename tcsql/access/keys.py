"""Keys: what one looks like, how a request proves that it holds one, and the text of the file that they stand in. Pure.

    tcsql_3f9a0c12_Vb1...43 letters     what a client sends: the id finds the key, the secret proves it

The secret is 256 random bits, so one SHA-256 of it can stand in the file: there is no word to guess, and nothing to
slow a guess down for. Digests are compared in constant time. Rotating gives a key another secret; the old one may live
on for a while. A revoked key stays in the ring: that a key has been made once is what closes a server.

Times are whole seconds since 1970. The look-up costs 2 us, nearly all of it hashing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from tcsql.access.callers import Rights
from tcsql.access.scopes import Scope, held
from tcsql.errors import SetupError, did_you_mean

ID_BYTES: Final = 4
SECRET_BYTES: Final = 32
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
#: Names of tables and columns.
IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
ID: Final = re.compile(r"[0-9a-f]{8}")
_TOKEN: Final = re.compile(r"tcsql_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
#: Compared with when there is no such key: an id that exists takes no longer to be refused.
_NOBODY: Final = bytes(32)
_MOST: Final = 10**12


class State(StrEnum):
    """What a key is good for at a moment."""

    LIVE = "live"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key. ``sha256``: of its secret; ``old_sha256``: of the one before, good until ``old_until``.

    ``rate``: requests a second, in bursts of ``burst`` (None: twice the rate). Limits are as in ``Rights``.
    """

    id: str
    name: str
    sha256: bytes = field(repr=False)
    scopes: frozenset[Scope]
    made: int
    tables: frozenset[str] | None = None
    columns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    filters: tuple[tuple[str, str], ...] = ()
    rate: float | None = None
    burst: float | None = None
    max_rows: int | None = None
    budget_rows: int | None = None
    expires: int | None = None
    revoked: int | None = None
    rotated: int | None = None
    old_sha256: bytes | None = field(default=None, repr=False)
    old_until: int | None = None

    @property
    def rights(self) -> Rights:
        """What it may do, and with which rows."""
        return Rights(held(self.scopes), self.tables, self.columns, self.filters, self.max_rows, self.budget_rows)

    def state(self, now_s: float) -> State:
        """Whether it is live; a revoked key is revoked, expired or not."""
        if self.revoked is not None:
            return State.REVOKED
        return State.EXPIRED if self.expires is not None and now_s >= self.expires else State.LIVE


def token_of(key_id: str, secret: bytes) -> str:
    """What a client sends, of an id and 32 random bytes.

    >>> token_of("3f9a0c12", bytes(32))
    'tcsql_3f9a0c12_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
    """
    assert len(secret) == SECRET_BYTES
    return f"tcsql_{key_id}_{urlsafe_b64encode(secret).decode().rstrip('=')}"


def parts_of(token: str) -> tuple[str, str] | None:
    """Id and secret of a token; None: it is none.

    >>> parts_of("tcsql_3f9a0c12_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")[0]
    '3f9a0c12'
    """
    found = _TOKEN.fullmatch(token)
    return (found[1], found[2]) if found is not None else None


def digest_of(token: str) -> bytes:
    """SHA-256 of a token's secret, which must be one."""
    parts = parts_of(token)
    assert parts is not None
    return _digest(parts[1])


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()


class Keys:
    """A ring of keys, by id; a value, never changed. Raises SetupError for what contradicts itself."""

    __slots__ = ("_by_id", "_ends")

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._by_id: dict[str, Key] = {}
        names = set()
        for key in keys:
            check(key)
            if key.id in self._by_id:
                raise SetupError(f"two keys have the id {key.id}")
            if key.revoked is None and key.name in names:
                raise SetupError(f"two keys have the name {key.name}")
            if key.revoked is None:
                names.add(key.name)
            self._by_id[key.id] = key
        ends = (end for key in self for end in (key.expires, key.old_until) if end is not None)
        self._ends = sorted(ends)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keys) and self._by_id == other._by_id

    __hash__ = None  # type: ignore[assignment]  # a ring is compared, and a key of nothing

    def get(self, key_id: str) -> Key | None:
        """The key of that id."""
        return self._by_id.get(key_id)

    def named(self, name: str) -> Key:
        """The key of that name that is not revoked, or of that id; raises SetupError with the nearest name."""
        for key in self:
            if key.name == name and key.revoked is None:
                return key
        if name in self._by_id:
            return self._by_id[name]
        live = [key.name for key in self if key.revoked is None]
        revoked = any(key.name == name for key in self)
        hint = f"{name} was revoked" if revoked else did_you_mean(name, live)
        raise SetupError(f"there is no key {name[:64]!r}", hint or "tcsql key list shows all")

    def holder(self, token: str, now_s: float) -> Key | None:
        """The key whose secret the token holds, expired or not; None for what is wrong, unknown or revoked."""
        parts = parts_of(token)
        if parts is None:
            return None
        key, digest = self._by_id.get(parts[0]), _digest(parts[1])
        is_new = hmac.compare_digest(digest, key.sha256 if key is not None else _NOBODY)
        is_old = hmac.compare_digest(digest, (key.old_sha256 if key is not None else None) or _NOBODY)
        if key is None or key.revoked is not None:
            return None
        if is_old and not is_new and (key.old_until is None or now_s >= key.old_until):
            return None
        return key if is_new or is_old else None

    def ended(self, now_s: float) -> int:
        """How many keys and old secrets have come to their end: whenever it moves, somebody's rights have."""
        return bisect_right(self._ends, now_s)

    def with_(self, key: Key) -> Keys:
        """The ring with one key put in, or in the place of the one of its id."""
        return Keys((self._by_id | {key.id: key}).values())


def rotated(key: Key, sha256: bytes, now_s: int, grace_s: int) -> Key:
    """The key with another secret; the one that it had lives on for the grace. Raises SetupError for a revoked key."""
    if key.revoked is not None:
        raise SetupError(f"the key {key.name} was revoked", "make another one: tcsql key make")
    old = (key.sha256, now_s + grace_s) if grace_s else (None, None)
    return replace(key, sha256=sha256, rotated=now_s, old_sha256=old[0], old_until=old[1])


def revoked(key: Key, now_s: int) -> Key:
    """The key, good for nothing from now on."""
    return replace(key, revoked=now_s, old_sha256=None, old_until=None) if key.revoked is None else key


def changes(before: Keys | None, after: Keys) -> list[tuple[str, Key]]:
    """What was done to which key: it was ``made``, ``rotated``, ``revoked``, ``changed`` by hand or ``removed``."""
    found = []
    old: Mapping[str, Key] = {key.id: key for key in before or ()}
    for key in after:
        was = old.get(key.id)
        if was == key:
            continue
        if was is None:
            found.append(("made", key))
        elif key.revoked is not None and was.revoked is None:
            found.append(("revoked", key))
        else:
            found.append(("rotated" if key.sha256 != was.sha256 else "changed", key))
    gone = old.keys() - {key.id for key in after}
    return found + [("removed", key) for key in old.values() if key.id in gone]


def check(key: Key) -> None:
    """Refuse a key that says two things, or nothing. Raises SetupError."""
    if not NAME.fullmatch(key.name):
        raise SetupError(f"{key.name[:80]!r} is no name for a key", "letters, digits, _ . and -, at most 64")
    place = f"the key {key.name}"
    if not key.scopes:
        raise SetupError(f"{place} has no scope", f"give --scope, one of: {', '.join(Scope)}")
    if key.tables is not None or key.columns or key.filters:
        _check_limitable(key.scopes, place)
        _check_tables(key, place)
    if key.burst is not None and key.rate is None:
        raise SetupError(f"{place} has a burst and no rate", "add --rate")
    _check_numbers(key, place)


def _check_limitable(scopes: frozenset[Scope], place: str) -> None:
    if Scope.ADMIN in scopes:
        raise SetupError(
            f"{place} has the scope admin and cannot be limited to tables, columns or rows",
            "an admin can run any SQL and copy the whole store; give --scope read or write",
        )
    if scopes == {Scope.PUBLISHED}:
        raise SetupError(
            f"{place} may call published queries only, and those do not look at its tables",
            "limit a key of scope read or write",
        )


def _check_tables(key: Key, place: str) -> None:
    if key.tables is not None and not key.tables:
        raise SetupError(f"{place} may touch no table", "give --table, or none for all tables")
    for what, limited in (
        ("columns", [name for name, _ in key.columns]),
        ("a filter", [name for name, _ in key.filters]),
    ):
        for table in limited:
            if key.tables is None or table not in key.tables:
                raise SetupError(
                    f"{place} has {what} for {table}, which is not among its tables", f"add --table {table}"
                )
            if limited.count(table) > 1:
                raise SetupError(f"{place} has {what} for {table} twice", "say all in one")
    for table, columns in key.columns:
        if not columns or len(set(columns)) < len(columns):
            raise SetupError(f"{place}: columns of {table} must be named, each once")
    for name in (*(key.tables or ()), *(column for _, columns in key.columns for column in columns)):
        if not IDENTIFIER.fullmatch(name):
            raise SetupError(f"{place}: {name[:80]!r} is not the name of a table or column")
    if not all(where for _, where in key.filters):
        raise SetupError(f"{place} has an empty filter", "a filter is conditions, for example tenant:NUMEQ:5")


def _check_numbers(key: Key, place: str) -> None:
    for what, number, low in (
        ("rate", key.rate, 0.001),
        ("burst", key.burst, 1),
        ("max_rows", key.max_rows, 1),
        ("budget_rows", key.budget_rows, 1),
    ):
        if number is not None and not low <= number <= _MOST:
            raise SetupError(f"{place}: {what} must be a number from {low:g} to {_MOST:g}")
