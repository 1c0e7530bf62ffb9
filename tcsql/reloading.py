"""Reloading: the configuration file read again while the server runs, by SIGHUP, ``POST /reload`` or ``tcsql reload``.

    published queries   those of the file from the next request on; one that is as before keeps its plan and its counts
    sources             one that is said otherwise connects anew and goes on, by another mode after its rows were
                        compared; one that is new is copied; of one that is gone the tables take writes from clients
    certificate         for connections made from now on; one that cannot be used is told, and the one before is kept
    options             at the next start: what differs from those that count is named

First everything is read, parsed and planned; a mistake is told and changes nothing. Rows stay where they are, and go on
answering, whatever becomes of their source. Reloads come one after the other, and are carried out to their end whoever
asked.

Cost: some milliseconds beside the event loop to read, 0.1 ms a published query in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple

from tcsql.engine.database import Database
from tcsql.errors import SetupError
from tcsql.http.published import Publications
from tcsql.published.options import Published
from tcsql.replication.followers import Followers
from tcsql.settings import Settings
from tcsql.sources import SourceSettings

logger = logging.getLogger("tcsql.server")


class Configured(NamedTuple):
    """What a configuration file says, with flags and environment in front of it."""

    settings: Settings
    sources: tuple[SourceSettings, ...] = ()
    published: tuple[Published, ...] = ()


class Running(NamedTuple):
    """What can be exchanged of a running server. ``certify``: read the certificate again; None: there is none."""

    database: Database
    published: Publications
    followers: Followers
    certify: Callable[[], None] | None


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, list[str]]:
    """What has come, what is said otherwise, and what has gone, by name.

    >>> differences({"a": 1, "b": 2}, {"b": 3, "c": 4})
    {'added': ['c'], 'changed': ['b'], 'removed': ['a']}
    """
    return {
        "added": [name for name in new if name not in old],
        "changed": [name for name in new if name in old and new[name] != old[name]],
        "removed": [name for name in old if name not in new],
    }


class Told(NamedTuple):
    """What has become of a configuration that was read again."""

    published: Mapping[str, Sequence[str]]
    sources: Mapping[str, Sequence[str]]
    certificate: str | None
    at_next_start: Sequence[str]

    @property
    def has_changed(self) -> bool:
        """Whether anything is published or followed otherwise than before."""
        return any([*self.published.values(), *self.sources.values()])


class Reloading:
    """One server's. ``started``: what it was started with; ``again`` reads that anew, and raises SetupError."""

    def __init__(self, started: Configured, again: Callable[[], Configured], running: Running) -> None:
        self._started = started
        self._again = again
        self._running = running
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[Told] | None = None

    async def reload(self) -> Told:
        """Read the file again; what has become of it. Raises SetupError, and then nothing has changed."""
        async with self._lock:
            task = self._task = asyncio.create_task(self._reload(), name="reload")
            return await asyncio.shield(task)

    async def asked(self) -> Mapping[str, object]:
        """The same, as JSON."""
        return (await self.reload())._asdict()

    async def end(self) -> None:
        """No reload is under way any more, and none begins."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._lock.acquire()

    async def _reload(self) -> Told:
        database, published, followers, _ = self._running
        found = await asyncio.to_thread(self._again)
        made = await asyncio.to_thread(Publications, found.published, self._started.settings)
        made.check(database, {table.name for source in found.sources for table in source.tables})
        told = Told(
            differences(published.configured, made.configured),
            differences(followers.settings, {source.name: source for source in found.sources}),
            self._certify(),
            self._later(found.settings),
        )
        published.replace(made)
        await followers.change(found.sources)
        logger.info("the configuration was read again", extra=told._asdict())
        return told

    def _certify(self) -> str | None:
        if self._running.certify is None:
            return None
        try:
            self._running.certify()
        except SetupError as error:  # the log may name files
            logger.warning("the certificate is the one before: %s", error.message, extra={"hint": error.hint})
            return "kept: the new one cannot be used, the log says why"
        return "read again"

    def _later(self, found: Settings) -> list[str]:
        """Options that differ from those the server was started with."""
        started = self._started.settings
        return [each.name for each in fields(found) if getattr(found, each.name) != getattr(started, each.name)]
