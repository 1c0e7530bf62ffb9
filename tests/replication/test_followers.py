"""All followers of a server before anybody answers: who owns which table, who may send hints, what may be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tcsql.errors import BadRequest, FollowedTable, NotFound, SourceAway, TCSQLError, Unauthorized, UnknownTable
from tcsql.replication.followers import Followers
from tcsql.sources import sources_of
from tcsql.sql import changes_of
from tcsql.storage.store import Store

CONFIGURED = """
[source.shop]
url = "mysql://db/shop"
tables = ["posts"]
[source.calls]
url = "mysql://db/calls"
tables = ["hinted"]
mode = "push"
push_token = "secret"
[source.old]
url = "mysql://db/old"
tables = ["posted"]
mode = "push"
"""


def nobody(*_: Any) -> Any:
    raise AssertionError("nothing was started")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
def followers(store: Store) -> Followers:
    return Followers(sources_of(CONFIGURED), store, Path(), nobody)


def counts(followers: Followers, name: str) -> dict[str, Any]:
    [entry] = [entry for entry in followers.status() if entry["name"] == name]
    found: Any = entry["counts"]
    return dict(found)


def test_tables_are_owned_before_anything_is_read_and_shared_with_triggers_that_send_rows(
    followers: Followers, store: Store
) -> None:
    assert store.owners.of == {"posts": "shop", "hinted": "calls", "posted": "old"}
    for table in ("posts", "hinted"):
        with pytest.raises(FollowedTable):
            store.owners.require_rows_from_clients(table)
    store.owners.require_rows_from_clients("posted")
    with pytest.raises(FollowedTable, match="table posted follows old"):
        store.commit_blocking(changes_of("CREATE TABLE posted (id INT PRIMARY KEY)", lambda name: None))


def test_hints_need_the_token_of_their_source_and_are_counted(followers: Followers) -> None:
    assert followers.hint("calls", b"secret", "hinted", ["1", "2"]) == 2
    assert counts(followers, "calls")["hints"] == 2
    refused: list[tuple[type[TCSQLError], tuple[Any, ...]]] = [
        (Unauthorized, ("calls", b"", "hinted", ["1"])),
        (Unauthorized, ("calls", b"other", "hinted", ["1"])),
        (Unauthorized, ("old", b"", "posted", ["1"])),  # a source without a token takes none, not even an empty one
        (NotFound, ("shop", b"", "posts", ["1"])),
        (NotFound, ("shoq", b"secret", "hinted", ["1"])),
        (UnknownTable, ("calls", b"secret", "posts", ["1"])),
    ]
    for kind, hint in refused:
        with pytest.raises(kind):
            followers.hint(*hint)
    assert counts(followers, "calls")["hints"] == 2


def test_a_source_that_is_not_copied_yet_has_no_age_and_is_stale(followers: Followers, store: Store) -> None:
    assert followers.freshness() == (None, ("shop", "calls", "old"))
    assert Followers((), store, Path(), nobody).freshness() is None


def test_what_cannot_be_done_now_or_ever_is_refused(followers: Followers) -> None:
    for kind, asked in (
        (SourceAway, ("shop", "verify")),
        (NotFound, ("shoq", "verify")),
        (UnknownTable, ("shop", "verify", "hinted")),
        (BadRequest, ("shop", "destroy")),
    ):
        with pytest.raises(kind):
            followers.act(*asked)
    assert followers.act("shop", "recopy", "posts")["name"] == "shop"


def test_listeners_hear_the_clock_tick_and_the_end_is_in_order(store: Store) -> None:
    heard = 0

    async def away(*_: Any) -> Any:
        raise SourceAway("nobody there")

    class Away:
        open = tables = follow = step = away

        async def close(self) -> None: ...

    def listen() -> None:
        nonlocal heard
        heard += 1

    async def work() -> None:
        made = Followers(sources_of(CONFIGURED), store, Path(), lambda *_: Away())  # type: ignore[arg-type]  # answers nothing
        made.on_fresh(listen)
        made.start()
        await asyncio.sleep(0.35)
        assert {entry["state"] for entry in made.status()} == {"away"}
        await made.stop()
        before = heard
        await asyncio.sleep(0.15)
        assert heard == before >= 3

    asyncio.run(work())
