"""Access: who sends a request, found out from its Authorization header; the keys may change while it serves.

    access.caller(authorization, is_local)  ->  LOCAL, ANONYMOUS, the Caller of a key, or one that is refused: 401

One Caller for each key as long as its rights stay what they are, and one meter as long as its rate does. Who remembers
callers (a header block of the fast lane, a query known by its bytes) says so by ``on_change``: it is told when a key
was made, rotated or revoked, and when one has expired or an old secret has ended, at most a second after it did.

Once there are keys there are keys until the process ends, whatever becomes of their file. 3 us a call.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import Final

from tcsql.access.callers import ANONYMOUS, LOCAL, Caller, Rights
from tcsql.access.keyfile import KeyFile
from tcsql.access.keys import Key, Keys, State, changes
from tcsql.access.meters import Meter
from tcsql.errors import NotLocal, Unauthorized

#: How soon what ``tcsql key`` did takes effect.
LOOK_S: Final = 1.0
#: A burst that nobody stated, in seconds of the rate; as at addresses without a key.
_BURST_S: Final = 2.0
_BEARER: Final = re.compile(r"bearer +([!-~]+)", re.IGNORECASE)
_NOTHING: Final = Rights(frozenset())
_HINT: Final = "send Authorization: Bearer and a key; whoever runs the server makes one with tcsql key make"

logger = logging.getLogger("tcsql.access")

#: One and the same for a key that never was, one whose secret is wrong and one that was revoked: nobody learns which.
WRONG: Final = Caller("refused", _NOTHING, refused=Unauthorized("the key is not one of this server", _HINT))
NOT_LOCAL: Final = Caller(
    "refused",
    _NOTHING,
    refused=NotLocal(
        "only this machine is trusted, as long as there are no keys", "whoever runs it makes one with tcsql key make"
    ),
)


class Access:
    """The keys that are good now. ``ring``: None, no key has ever been made. ``clock``: seconds since 1970."""

    def __init__(self, ring: Keys | None = None, clock: Callable[[], float] = time.time) -> None:
        self._ring = ring
        self._clock = clock
        self._callers: dict[str, tuple[Key, Caller]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._notes: list[Callable[[str, Key], None]] = []
        self._ended = 0 if ring is None else ring.ended(clock())

    @property
    def has_keys(self) -> bool:
        """Whether a key has ever been made: from then on nobody is trusted for where they sit."""
        return self._ring is not None

    def caller(self, authorization: str, is_local: bool) -> Caller:
        """Who sends a request with this header; ``is_local``: from this machine, and not through a proxy."""
        ring = self._ring
        if ring is None:
            return LOCAL if is_local else NOT_LOCAL
        if not authorization:
            return ANONYMOUS
        bearer = _BEARER.fullmatch(authorization.strip(" \t"))
        now_s = self._clock()
        key = ring.holder(bearer[1], now_s) if bearer is not None else None
        if key is None:
            return WRONG
        if key.state(now_s) is State.EXPIRED:
            return Caller(key.id, _NOTHING, refused=Unauthorized("the key has expired", _HINT))
        return self._caller(key)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back whenever a caller that was given before may not be what it was."""
        self._listeners.append(callback)

    def on_key(self, callback: Callable[[str, Key], None]) -> None:
        """Call back with what was done to which key, as ``changes`` says it."""
        self._notes.append(callback)

    def replace(self, ring: Keys) -> None:
        """Take other keys from now on."""
        for what, key in changes(self._ring, ring):
            logger.warning("a key was %s", what, extra={"key": key.id, "key_name": key.name})
            for note in self._notes:
                note(what, key)
        self._ring = ring
        live = [key.id for key in ring if key.revoked is None]  # revoked keys stand there for ever
        self._callers = {key_id: kept for key_id in live if (kept := self._callers.get(key_id)) is not None}
        self._ended = ring.ended(self._clock())
        self._tell()

    def look(self) -> None:
        """See whether a key has expired, or has come back because the clock was set; called once a second."""
        ended = self._ring.ended(self._clock()) if self._ring is not None else 0
        if ended != self._ended:
            self._ended = ended
            self._tell()

    async def watch(self, file: KeyFile) -> None:
        """Look once a second, until cancelled; a disk that is slow keeps nobody waiting."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                ring = await asyncio.to_thread(file.look)
            except RuntimeError as error:  # no thread can be started; a key that is revoked then must be, later
                logger.error("the keys cannot be looked at now: %s", error)  # noqa: TRY400  # no bug: no traceback
                continue
            if ring is not None:
                self.replace(ring)
            self.look()

    def _tell(self) -> None:
        for callback in self._listeners:
            callback()

    def _caller(self, key: Key) -> Caller:
        kept = self._callers.get(key.id)
        if kept is not None and kept[0] is key:
            return kept[1]
        was, caller = kept or (None, None)
        if was is not None and caller is not None and (was.rate, was.burst) == (key.rate, key.burst):
            meter = caller.meter
        else:
            meter = _meter(key)
        if caller is None or caller.meter is not meter or caller.rights != key.rights:
            caller = Caller(key.id, key.rights, meter)
        self._callers[key.id] = key, caller
        return caller


def _meter(key: Key) -> Meter | None:
    """Begun at 0 of the lanes' clock, whichever that is: full when it is first asked."""
    if key.rate is None:
        return None
    return Meter(key.rate, key.burst if key.burst is not None else max(1.0, key.rate * _BURST_S), 0.0)
