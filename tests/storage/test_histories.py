"""Random histories with crashes and power cuts at random calls of the disk.

Invariants, after each: the store opens; it holds exactly the state of some lsn, rows, schemas and counters, with
the follower's position of that same lsn; everything acknowledged before is in it; no lsn is given out twice.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.engine.change import (
    AddColumn,
    Change,
    CreateIndex,
    CreateTable,
    Delete,
    DropColumn,
    DropTable,
    RenameTable,
    Truncate,
    Update,
    Upsert,
)
from tcsql.engine.query import Condition, Filter, Operator
from tcsql.engine.schema import Column, IndexDef
from tcsql.errors import CallerError
from tcsql.storage.check import check_store
from tcsql.storage.options import StoreOptions
from tcsql.storage.store import Store
from tcsql.storage.ticket import Level, Origin, Ticket
from tests.storage.faults import Disk, faulty_disk
from tests.storage.support import SCHEMAS, TEXT, Contents, contents
from tests.strategies import effort

numbers = st.integers(0, 15)
texts = st.sampled_from(["", "a", "x,y", "ü\n", "long " * 50])


def below(limit: int) -> Filter:
    return Filter(((Condition(None, Operator.NUMLT, str(limit)),),))


rows: dict[str, st.SearchStrategy[Change]] = {
    "posts": st.builds(
        lambda ids, text: Upsert("posts", [{"id": n, "uid": n % 3, "title": text} for n in ids]),
        st.lists(numbers, min_size=1, max_size=5, unique=True),
        texts,
    ),
    "counted": st.builds(
        lambda text, key: Upsert("counted", [{"title": text} if key is None else {"id": key, "title": text}]),
        texts,
        st.one_of(st.none(), st.integers(2**63 - 2, 2**63 + 2)),
    ),
    "named": st.builds(lambda name, hits: Upsert("named", [{"name": name, "hits": hits}]), texts, numbers),
    "pairs": st.builds(lambda a, b: Upsert("pairs", [{"a": a, "b": b, "c": None}]), texts, numbers),
}
names = st.sampled_from([schema.name for schema in SCHEMAS])
row_changes = st.one_of(
    *rows.values(),
    *rows.values(),
    st.builds(Delete, names, st.builds(below, numbers)),
    st.builds(lambda limit, text: Update("posts", below(limit), {"title": text}), numbers, texts),
)
schema_changes = st.one_of(
    st.builds(CreateTable, st.sampled_from(SCHEMAS), st.just(True)),
    st.builds(Truncate, names),
    st.builds(DropTable, names, st.just(True)),
    st.builds(RenameTable, names, st.sampled_from(["posts", "named", "moved"])),
    st.builds(
        AddColumn, names, st.just(Column("extra", TEXT, default="d", has_default=True)), st.sampled_from(["", None])
    ),
    st.builds(DropColumn, names, st.sampled_from(["extra", "title", "uid", "hits"])),
    st.builds(CreateIndex, names, st.just(IndexDef("more", ("hits",))), st.just(True)),
)
batches = st.one_of(
    st.lists(row_changes, min_size=1, max_size=3),
    st.lists(row_changes, min_size=1, max_size=3),
    st.lists(row_changes, min_size=1, max_size=3),
    st.lists(schema_changes, min_size=1, max_size=2),
)
levels = st.sampled_from([Level.ALWAYS, Level.ALWAYS, Level.INTERVAL, Level.MEMORY])
#: Groups of batches submitted together, each batch with its level.
lives = st.lists(st.lists(st.tuples(batches, levels), min_size=1, max_size=4), min_size=1, max_size=6)


class Ledger:
    """What was promised: the state after each lsn, and the highest one that anybody was told is durable."""

    def __init__(self) -> None:
        self.states: dict[int, tuple[Contents, dict[str, bytes]]] = {}
        self.acknowledged = 0
        self.highest = 0

    def opened(self, store: Store) -> None:
        """A store that begins has the state it was left in, under an lsn behind all that were given out."""
        assert store.lsn >= self.highest, "an lsn would be given out twice"
        self.highest = self.acknowledged = store.lsn
        self.states[store.lsn] = (contents(store.database), store.positions())

    def applied(self, store: Store, ticket: Ticket) -> None:
        assert ticket.lsn > self.highest, "an lsn was given out twice"
        self.highest = ticket.lsn
        assert ticket.position is not None
        self.states[ticket.lsn] = (contents(store.database), dict([ticket.position]))


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    with faulty_disk() as disk:
        yield disk


@given(st.lists(lives, min_size=1, max_size=3), st.integers(0, 2**32), st.integers(1, 12))
@effort(200)
def test_crashes_and_power_cuts_lose_nothing_acknowledged(
    disk: Disk, history: list[list[list[tuple[list[Change], Level]]]], seed: int, checkpoint_at: int
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        ledger = Ledger()
        random = Random(seed)  # also asked by the committer's thread, where Hypothesis' own must not be
        directory = Path(scratch) / "0"
        for life in history:
            disk.images.clear()
            if directory.exists():
                for file in directory.iterdir():
                    disk.adopt(file)
            images = asyncio.run(_live(directory, disk, life, ledger, random, checkpoint_at))
            survived = []
            for image, acknowledged in images:
                assert check_store(image) == []
                survived.append(_verify(image, disk, ledger, acknowledged))
            # The next life continues from what the last of them left; what came after it never was.
            directory = images[-1][0]
            ledger.states = {lsn: state for lsn, state in ledger.states.items() if lsn <= survived[-1]}


async def _live(
    directory: Path,
    disk: Disk,
    life: list[list[tuple[list[Change], Level]]],
    ledger: Ledger,
    random: Random,
    checkpoint_at: int,
) -> list[tuple[Path, int]]:
    """One life of a store; gives the directories that crashes left, each with what was acknowledged before it."""
    store = Store.open(directory, StoreOptions(vfs=disk.name, interval_ms=5, change_log=30))
    store._file._checkpoint_at = checkpoint_at
    ledger.opened(store)
    images: list[tuple[Path, int]] = []
    crashing = {random.randrange(1, 120) for _ in range(3)}
    calls, names = 0, itertools.count()

    def crash_now() -> None:
        acknowledged = ledger.acknowledged  # before the moment of the crash, which another thread may be nearing
        cut = disk.crash if random.random() < 0.5 else disk.power_cut
        target = directory.with_name(f"{directory.name}-{next(names)}")
        images.append((cut(target, random), acknowledged))

    def before_call(operation: str, file: str) -> None:
        nonlocal calls
        calls += 1
        if calls in crashing:
            crash_now()

    disk.before = before_call
    try:
        for group in life:
            await asyncio.gather(*(_write(store, changes, level, ledger) for changes, level in group))
    finally:
        disk.before = None
    crash_now()
    store.close()
    return images


async def _write(store: Store, changes: list[Change], level: Level, ledger: Ledger) -> None:
    lsn = store.lsn
    try:
        ticket = store.submit(changes, Origin(level, "source", b"after %d" % lsn))
    except CallerError:
        return
    ledger.applied(store, ticket)
    if level is Level.ALWAYS:
        await ticket.wait()
        ledger.acknowledged = max(ledger.acknowledged, ticket.lsn)


def _verify(image: Path, disk: Disk, ledger: Ledger, acknowledged: int) -> int:
    """The store in ``image`` is one of the states there were, not older than acknowledged; gives its lsn."""
    store = Store.open(image, StoreOptions(vfs=disk.name))
    lsn = store.recovered.lsn
    assert lsn >= acknowledged, "an acknowledged write is lost"
    assert (contents(store.database), store.positions()) == ledger.states[lsn]
    changes = store.changes_since(store._file.state.log_floor)
    seen = [change.lsn for change in changes or ()]
    assert seen == sorted(seen) and all(logged <= lsn for logged in seen)
    assert store.lsn >= max(ledger.states)
    store._changes.close()
    store._file.close()  # without a clean stop, for the next life
    store._lock.release()
    return lsn
