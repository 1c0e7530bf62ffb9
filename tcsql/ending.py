"""The end of a store that may wait for a disk which does not answer: waits, says so, and can be told to give up.

Closing means writing what is pending and syncing it, and a sync takes as long as the disk does. So it happens beside
the event loop, which goes on hearing signals:

    no second signal    waits for as long as it takes, and says every ``TELL_S`` what it waits for
    a second signal     ``HURRIED_S`` more, then the process ends without it: as after a crash. What was acknowledged
                        is in the file; what was not is told
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Final

from tcsql.errors import OutcomeUnknown
from tcsql.storage.store import Store

TELL_S: Final = 5.0
HURRIED_S: Final = 2.0
logger = logging.getLogger("tcsql.server")


async def close(store: Store, hurried: asyncio.Event) -> None:
    """Close a store that nobody calls any more; raises what closing raises, OutcomeUnknown when it was given up."""
    closing = asyncio.ensure_future(_closed(store))
    hurrying = asyncio.ensure_future(hurried.wait())
    try:
        while not closing.done():
            if hurrying.done():
                await asyncio.wait({closing}, timeout=HURRIED_S)
                break
            await asyncio.wait({closing, hurrying}, timeout=TELL_S, return_when=asyncio.FIRST_COMPLETED)
            if not closing.done() and not hurrying.done():
                logger.warning("the disk does not answer: %d writes wait for it", store.pending)
        if not closing.done():
            raise OutcomeUnknown(
                f"ended without waiting for the disk: {store.pending} writes that nobody was told of may be lost",
                "all that was answered is in the file; look at the disk before the next start",
            )
        await closing
    finally:
        hurrying.cancel()
        closing.cancel()


async def _closed(store: Store) -> None:
    await store.drain()
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if ended.done():
            return  # given up
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def work() -> None:
        failure: BaseException | None = None
        try:
            store.close()
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            failure = error
        loop.call_soon_threadsafe(tell, failure)

    # a daemon: the interpreter must be able to end while it hangs in a sync
    threading.Thread(target=work, name="tcsql-closing", daemon=True).start()
    await ended
