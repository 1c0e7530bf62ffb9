"""Tables that follow a source take rows and columns from it alone, on every way into the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tcsql.engine.change import (
    AddColumn,
    AllowIndex,
    Change,
    CreateIndex,
    CreateTable,
    Delete,
    DeleteKeys,
    DropColumn,
    DropIndex,
    DropTable,
    RenameColumn,
    RenameIndex,
    RenameTable,
    Truncate,
    Update,
    Upsert,
)
from tcsql.engine.query import Filter
from tcsql.engine.schema import Column, IndexDef
from tcsql.errors import FollowedTable, SetupError
from tcsql.storage.ownership import Owners
from tcsql.storage.store import Store
from tcsql.storage.ticket import CLIENT, Level, Origin
from tests.storage.support import NAMED, POSTS, TEXT, contents, create_all, post, posts

SHOP = Origin(Level.ALWAYS, "shop", b"here")
OTHER = Origin(Level.ALWAYS, "other", b"there")
#: Every kind of change that is not about an index, on the followed table.
ROWS: list[Change] = [
    Upsert("posts", [post(9)]),
    Upsert("posts", [post(9), post(10)], trusted=True),
    Update("posts", Filter(), {"title": "x"}),
    Delete("posts", Filter()),
    DeleteKeys("posts", [1]),
]
SCHEMA: list[Change] = [
    Truncate("posts"),
    DropTable("posts"),
    DropTable("posts", if_exists=True),
    RenameTable("posts", "elsewhere"),
    RenameTable("named", "followed_later"),
    CreateTable(NAMED.with_(name="followed_later")),
    CreateTable(POSTS, if_not_exists=True),
    AddColumn("posts", Column("extra", TEXT)),
    DropColumn("posts", "title"),
    RenameColumn("posts", "title", "headline"),
]


def followed(directory: Path, lets_clients_write: bool = False) -> Store:
    store = Store.open(directory)
    store.commit_blocking([*create_all()])
    store.commit_blocking(posts(1, 2))
    store.owners.claim("shop", ["posts", "followed_later"], lets_clients_write)
    return store


async def _commit(store: Store, changes: Sequence[Change], origin: Origin) -> None:
    await store.commit(changes, origin)


async def _submit(store: Store, changes: Sequence[Change], origin: Origin) -> None:
    await store.submit(changes, origin).wait()


async def _commit_blocking(store: Store, changes: Sequence[Change], origin: Origin) -> None:
    store.commit_blocking(changes, origin)


Way = Callable[[Store, Sequence[Change], Origin], Coroutine[None, None, None]]
WAYS: dict[str, Way] = {"commit": _commit, "submit": _submit, "commit_blocking": _commit_blocking}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("origin", [CLIENT, OTHER], ids=["client", "another source"])
def test_everybody_else_is_refused_on_every_way_in(tmp_path: Path, way: str, origin: Origin) -> None:
    async def work(store: Store) -> None:
        before, lsn = contents(store.database), store.lsn
        for change in (*ROWS, *SCHEMA):
            with pytest.raises(FollowedTable, match="follows shop") as refused:
                await WAYS[way](store, [change], origin)
            assert (refused.value.status, refused.value.hint) == (409, "write to MySQL; indexes may be made here")
        with pytest.raises(FollowedTable):  # all or nothing
            await WAYS[way](store, [Upsert("named", [{"name": "a", "hits": 1}]), *posts(3)], origin)
        assert contents(store.database) == before
        assert store.lsn == lsn
        await WAYS[way](store, [Upsert("named", [{"name": "a", "hits": 1}])], origin)

    with closing(followed(tmp_path)) as store:
        asyncio.run(work(store))


@pytest.mark.parametrize("way", WAYS)
def test_the_source_writes_rows_and_columns(tmp_path: Path, way: str) -> None:
    async def work(store: Store) -> None:
        for change in (*ROWS[:2], AddColumn("posts", Column("extra", TEXT)), DropTable("posts"), CreateTable(POSTS)):
            await WAYS[way](store, [change], SHOP)
        await WAYS[way](store, posts(5), SHOP)
        assert list(store.database.rows("posts")) == [b'{"id":5,"uid":5,"title":"t"}']

    with closing(followed(tmp_path)) as store:
        asyncio.run(work(store))


def test_anybody_makes_indexes(tmp_path: Path) -> None:
    with closing(followed(tmp_path)) as store:
        store.commit_blocking([CreateIndex("posts", IndexDef("by_title", ("title",)))])
        store.commit_blocking([RenameIndex("posts", "by_title", "titles")])
        store.commit_blocking([DropIndex("posts", "titles")])
        automatic = IndexDef("auto_title", ("title",), automatic=True)
        store.commit_blocking([CreateIndex("posts", automatic)])
        store.commit_blocking([DropIndex("posts", "auto_title")])
        store.commit_blocking([AllowIndex("posts", "auto_title")])


def test_a_source_that_sends_rows_as_a_client_shares_the_rows_and_not_the_columns(tmp_path: Path) -> None:
    with closing(followed(tmp_path, lets_clients_write=True)) as store:
        for change in ROWS:
            store.commit_blocking([change])
        for change in SCHEMA:
            with pytest.raises(FollowedTable):
                store.commit_blocking([change])
        store.owners.require_rows_from_clients("posts")
        store.owners.claim("shop", ["posts"])
        with pytest.raises(FollowedTable):
            store.owners.require_rows_from_clients("posts")


def test_a_released_table_is_like_all_others(tmp_path: Path) -> None:
    with closing(followed(tmp_path)) as store:
        store.owners.release("other")
        with pytest.raises(FollowedTable):
            store.commit_blocking(posts(3))
        store.owners.release("shop")
        store.commit_blocking(posts(3))
        assert not store.owners.of


def test_a_table_follows_one_source() -> None:
    owners = Owners()
    owners.claim("shop", ["posts", "users"])
    with pytest.raises(SetupError, match="table users is followed by shop and by blog"):
        owners.claim("blog", ["comments", "users"])
    assert owners.of == {"posts": "shop", "users": "shop"}
