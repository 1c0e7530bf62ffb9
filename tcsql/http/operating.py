"""What operators and triggers ask of a server: states of sources, actions, hints, and the configuration read again.

Each takes what is open, and gives the whole reply. The caller has been judged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from tcsql.errors import BadRequest, NotFound, SetupError
from tcsql.http import render
from tcsql.http.following import PREFIX, act, source_state
from tcsql.http.messages import Body, Head, Reply
from tcsql.http.opened import Opened

#: Reads the configuration again; what has become of it. Raises SetupError.
Reload = Callable[[], Awaitable[Mapping[str, object]]]


async def no_reload() -> Mapping[str, object]:
    """Of a server without a configuration file."""
    raise NotFound("this server has no configuration to read again")


def hinted(state: Opened, head: Head, body: bytes) -> Reply:
    """``command=hint``: how many keys were taken."""
    return Reply(202, b'{"hints":%d}' % state.hints.give(state.followers, head, body))


async def of_source(state: Opened, head: Head, body: Body) -> Reply:
    """``/sources/NAME``: its state, by POST after an action."""
    name = head.path.removeprefix(PREFIX)
    if head.method == "POST":
        await _nothing(state, head, body)
        return Reply(202, render.document(act(state.followers, name, head.query)))
    return Reply(200, render.document(source_state(state.followers, name)))


async def reloaded(state: Opened, head: Head, body: Body, reload: Reload) -> Reply:
    """``POST /reload``: what has changed; a mistake in the file is the request's."""
    await _nothing(state, head, body)
    try:
        return Reply(200, render.document(await reload()))
    except SetupError as error:
        raise BadRequest(error.message, error.hint) from None


async def _nothing(state: Opened, head: Head, body: Body) -> None:
    """A body that says nothing; but a request whose body is malformed is not done."""
    await state.place(head.caller).writer.read(head, body)
