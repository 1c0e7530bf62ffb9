"""Rates: how many requests may come from one address without a key, and from one key.

    rates.refusal(caller, client)  ->  None, or RateLimited with the seconds after which a request may come

A key with a rate has its meter; whoever has none is metered by address, whatever it asks, but this machine itself. A
wrong key counts as none: it must not be the way around. All others pay nothing, because nobody asks here for them.

Cost: 0.4 us a request, 0.3 KB an address. Meters that are full again are forgotten by the sweep, so the table holds who
asked lately. It is bounded: when it is full, newcomers share one meter until there is room.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil
from typing import Final

from tcsql.access.callers import ANONYMOUS, Caller
from tcsql.access.meters import Meter
from tcsql.errors import RateLimited

#: Addresses with a meter of their own: 5 MB, and 5 ms of a sweep, at most.
MOST_ADDRESSES: Final = 16_384
#: A second's requests may come at once, and as many again.
BURST_S: Final = 2.0


class Rates:
    """The meters of one server's addresses; ``rate``: requests a second, 0 for no limit."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._meters: dict[str, Meter] = {}
        self._crowd = self._new()
        self.refused = 0

    def counts(self, caller: Caller, is_local: bool) -> bool:
        """Whether a caller's requests are counted by the meter of their address."""
        is_keyless = caller is ANONYMOUS or caller.refused is not None
        return is_keyless and not is_local and self._rate > 0

    def refusal(self, caller: Caller, client: str) -> RateLimited | None:
        """Take one request off the meter of an address, or off the caller's if ``client`` is empty."""
        now_s = self._clock()
        meter = caller.meter if not client else self._of(client)
        if meter is None or meter.take(now_s):
            return None
        self.refused += 1
        whose = "this address without a key" if client else "this key"
        return RateLimited(
            f"more requests than {whose} may send",
            f"at most {meter.rate:g} a second, up to {meter.burst:g} at once",
            retry_after_s=max(1, ceil(meter.wait_s(now_s))),
        )

    def forget(self) -> None:
        """Let go of meters that are full: 0.3 us each, once a sweep."""
        now_s = self._clock()
        for client in [client for client, meter in self._meters.items() if meter.is_full(now_s)]:
            del self._meters[client]

    def __len__(self) -> int:
        return len(self._meters)

    def _of(self, client: str) -> Meter:
        meter = self._meters.get(client)
        if meter is None:
            if len(self._meters) >= MOST_ADDRESSES:
                return self._crowd
            meter = self._meters[client] = self._new()
        return meter

    def _new(self) -> Meter:
        return Meter(self._rate, BURST_S * self._rate, self._clock())
