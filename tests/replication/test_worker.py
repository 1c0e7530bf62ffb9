"""The process of a source: what crosses, what wakes it, and what happens when either end is gone."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from tcsql.errors import SetupError, SourceAway, SourceFault, TCSQLError
from tcsql.replication.channel import HEAD, error_of, frame_of_error, frames_of_step, message_of, step_of
from tcsql.replication.source import KeysRead, RangeRead, ReadRange, Rows, Step, TableChange
from tcsql.replication.triggers import Wiring, trigger_stem, triggers_of
from tcsql.replication.worker import bind_doorbell
from tcsql.replication.workerclient import SourceProcess
from tcsql.sources import SourceSettings
from tests.mariadb import MariaDB
from tests.replication.polling import Shop, shop

POSTS = "CREATE TABLE posts (id INT PRIMARY KEY, title VARCHAR(200)) ENGINE=InnoDB"


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with MariaDB() as running:
        yield running


@pytest.fixture
def at(server: MariaDB) -> Iterator[Shop]:
    """A database that is set up; its own source is closed, so that a process can claim the outbox."""
    with shop(server, POSTS) as opened:
        opened.source.close()
        yield opened


async def following(at: Shop, settings: SourceSettings | None = None) -> SourceProcess:
    source = SourceProcess(settings or at.settings)
    await source.open(b"")
    [state] = await source.tables()
    assert state.problem is None and state.schema.names == ("id", "title")
    await source.follow(["posts"])
    return source


def ended(pid: int, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


# -- what crosses ------------------------------------------------------------------------------------------------------


def test_a_step_is_whole_again_however_it_is_cut() -> None:
    wide = Rows(list(range(5)), [list(range(5)), [str(n) * 400_000 for n in range(5)]])
    many = Rows([(n, "k") for n in range(4_500)], [list(range(4_500)), [None] * 4_500])
    empty = Rows((), ((), ()))
    changes = {
        "wide": TableChange(wide, [7]),
        "none": TableChange(empty, [1, 2]),
        "many": TableChange(many),
        "one": TableChange(Rows([1], [[1], ["a"]])),
    }
    for read in (None, RangeRead("many", many, "k"), KeysRead("none", empty, [3])):
        step = Step(changes, read, 9, b"t", False, b"p", 1.5, 2.5, 3.5, ("wide",))
        frames = list(frames_of_step(step))
        assert len(frames) > 6 and max(map(len, frames)) < 900_000
        *rows, last = [message_of(each[HEAD.size :]) for each in frames]
        assert {kind for kind, _ in rows} == {"rows"}
        again = step_of(last[1], last[2], [each[1] for each in rows])
        assert as_lists(again) == as_lists(step)


def as_lists(step: Step) -> object:
    def plain(rows: Rows) -> object:
        return list(rows.pkeys), [list(column) for column in rows.columns]

    changes = {name: (plain(change.rows), list(change.gone)) for name, change in step.changes.items()}
    read = step.read and (dataclasses.replace(step.read, rows=Rows()), plain(step.read.rows))
    return dataclasses.replace(step, changes={}, read=None), changes, read


@pytest.mark.parametrize("kind", [SourceAway, SourceFault, SetupError])
def test_errors_cross_with_all_they_say(kind: type[TCSQLError]) -> None:
    name, *parts = message_of(frame_of_error(kind("why", "what to do", errno=7))[HEAD.size :])
    assert name == "error"
    again = error_of(*parts)
    assert (type(again), again.message, again.hint, again.extra) == (kind, "why", "what to do", {"errno": 7})


def test_rows_cross_in_steps_and_stretches(at: Shop) -> None:
    async def run() -> None:
        source = await following(at)
        at.write("INSERT INTO posts VALUES " + ",".join(f"({n},'title ü {n}')" for n in range(5_000)))
        step = await source.step(1.0, b"", ReadRange("posts", None, 3_000))
        change = step.changes["posts"]
        assert change.rows.pkeys == list(range(5_000)) and change.rows.columns[1][4_999] == "title ü 4999"
        assert isinstance(step.read, RangeRead)
        assert (len(step.read.rows), step.read.last) == (3_000, "2999")
        step = await source.step(0.0, step.token, None)
        assert (step.events, at.noted_seqs()) == (0, [])
        await source.close()

    asyncio.run(run())


def test_a_fault_crosses_and_the_process_goes_on(at: Shop) -> None:
    async def run() -> None:
        source = await following(at)
        with pytest.raises(SourceFault, match="table words cannot be followed") as caught:
            await source.follow(["words"])
        assert caught.value.hint == "tcsql mysql check shop"
        assert (await source.step(0.0, b"", None)).events == 0
        await source.close()

    asyncio.run(run())


def test_the_password_is_not_on_the_command_line(at: Shop) -> None:
    async def run() -> None:
        url = at.settings.url.replace("root@", "root:@")
        source = await following(at, dataclasses.replace(at.settings, url=url, push_token="secret-token"))
        process = psutil.Process(source.pid)
        assert "mysql" not in " ".join(process.cmdline()[3:]) and "secret" not in " ".join(process.cmdline())
        await source.close()

    asyncio.run(run())


# -- what wakes it -----------------------------------------------------------------------------------------------------


def test_an_idle_step_ends_with_its_time(at: Shop) -> None:
    async def run() -> None:
        source = await following(at, dataclasses.replace(at.settings, poll_ms=60_000))
        began = time.monotonic()
        step = await source.step(0.2, b"", None)
        assert step.events == 0 and 0.2 <= time.monotonic() - began < 2.0
        await source.close()

    asyncio.run(run())


def test_a_ring_of_the_doorbell_ends_a_long_pause(at: Shop, tmp_path: Path) -> None:
    async def run() -> None:
        bell = tmp_path / "bell"
        socket_left_behind = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        socket_left_behind.bind(str(bell))
        socket_left_behind.close()
        settings = dataclasses.replace(at.settings, poll_ms=60_000, doorbell="bell")
        source = SourceProcess(settings, tmp_path)
        await source.open(b"")
        [state] = await source.tables()
        assert "is changed" in str(state.problem), "triggers that do not ring are not those of a doorbell"
        assert bell.stat().st_mode & 0o777 == 0o666
        waiting = asyncio.create_task(source.step(60.0, b"", None))
        await asyncio.sleep(0.3)  # the pauses have grown long by now
        at.write("INSERT INTO posts VALUES (1, 'a')")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ringer:
            began = time.monotonic()
            for _ in range(5):
                ringer.sendto(b"", str(bell))
        step = await waiting
        assert step.events == 1 and time.monotonic() - began < 1.0
        await source.close()
        assert not bell.exists()

    asyncio.run(run())


def test_hints_reach_a_push_source_while_it_waits_and_are_counted_when_dropped(at: Shop) -> None:
    async def run() -> None:
        at.write("INSERT INTO posts VALUES (1, 'a')")
        key = at.source.readers["posts"]._keys
        stem = trigger_stem("tcsql_outbox", "posts")
        at.write(*(f"DROP TRIGGER {stem}_{event}" for event in ("ins", "upd", "del")))
        at.write(*(trigger.create_sql for trigger in triggers_of("posts", key, Wiring("tcsql_outbox", push=True))))
        source = await following(at, dataclasses.replace(at.settings, mode="push"))
        await source.step(0.0, b"", None)
        waiting = asyncio.create_task(source.step(60.0, b"", None))
        await asyncio.sleep(0.2)
        source.hint("posts", ["1", "2"])
        change = (await asyncio.wait_for(waiting, 5)).changes["posts"]
        assert (change.rows.pkeys, change.gone) == ([1], [2])
        assert source.pid is not None
        os.kill(source.pid, signal.SIGSTOP)
        for _ in range(5):
            source.hint("posts", [f"{number:070}" for number in range(100_000)])
        assert 0 < source._lost < 500_000, "some of them wait, the others are counted"
        os.kill(source.pid, signal.SIGCONT)
        await source.step(0.0, b"", None)
        await source.step(0.0, b"", None)
        assert source._lost == 0
        await source.close()

    asyncio.run(run())


def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "bell"
    path.write_text("something of somebody's")
    with pytest.raises(SourceFault, match="is no socket"):
        bind_doorbell(path)
    assert path.read_text() == "something of somebody's"
    with pytest.raises(SourceFault, match="cannot be made: No such file"):
        bind_doorbell(tmp_path / "nowhere" / "bell")


def test_close_ends_a_long_wait_at_once(at: Shop) -> None:
    async def run() -> None:
        source = await following(at, dataclasses.replace(at.settings, poll_ms=60_000))
        pid = source.pid
        assert pid is not None
        waiting = asyncio.create_task(source.step(60.0, b"", None))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        with pytest.raises(SourceAway):
            await source.step(0.0, b"", None)
        began = time.monotonic()
        await source.close()
        assert time.monotonic() - began < 1.5 and ended(pid)

    asyncio.run(run())


# -- when either end is gone -------------------------------------------------------------------------------------------


def test_a_killed_process_is_away_and_a_new_one_goes_on(at: Shop) -> None:
    async def run() -> None:
        source = await following(at)
        at.write("INSERT INTO posts VALUES (1, 'a')")
        assert (await source.step(1.0, b"", None)).events == 1
        waiting = asyncio.create_task(source.step(60.0, b"", None))  # not acknowledged: given again
        assert (await waiting).events == 1
        waiting = asyncio.create_task(source.step(60.0, b"", ReadRange("posts", None, 100)))
        assert source.pid is not None
        os.kill(source.pid, signal.SIGKILL)
        with pytest.raises(SourceAway, match="source shop has ended with signal 9"):
            while True:
                await waiting
                waiting = asyncio.create_task(source.step(60.0, b"", None))
        await source.close()
        source = await following(at)
        step = await source.step(1.0, b"", None)
        assert step.changes["posts"].rows.pkeys == [1]
        await source.close()

    asyncio.run(run())


def test_a_process_that_fails_says_its_last_line(at: Shop) -> None:
    async def run() -> None:
        source = await following(at)
        with pytest.raises(SourceAway, match=r"has ended with status 1: TypeError: .*step") as caught:
            await source._ask(("step", "no", "such", "arguments", "at all"))
        assert "\n" not in caught.value.message
        await source.close()

    asyncio.run(run())


ORPHAN = """
import asyncio, pickle, sys
from tcsql.replication.workerclient import SourceProcess

async def run():
    source = SourceProcess(pickle.loads(bytes.fromhex(sys.argv[1])))
    await source.open(b"")
    print(source.pid, flush=True)
    await source.step(600.0, b"", None)

asyncio.run(run())
"""


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a statement"])
def test_it_ends_when_its_parent_is_killed(at: Shop, busy: bool) -> None:
    settings = dataclasses.replace(at.settings, poll_ms=60_000)
    blocker = at.another()
    if busy:  # the first heartbeat waits for the lock
        settings = dataclasses.replace(settings, heartbeat_ms=100)
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, pickle.dumps(settings).hex()], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if busy:
            blocker.query("LOCK TABLES tcsql_outbox WRITE")
            time.sleep(0.3)
            waiting = [row for row in blocker.query("SHOW PROCESSLIST") if "lock" in str(row[6])]
            assert waiting, "it is to hang in a statement"
        os.kill(pid, signal.SIGINT)
        time.sleep(0.05)
        assert psutil.pid_exists(pid), "a key at the terminal is not for it"
        parent.kill()
        parent.wait()
        assert ended(pid)
    finally:
        blocker.close()
        parent.kill()
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()


def test_a_big_answer_leaves_the_event_loop_free(at: Shop) -> None:
    """Tens of thousands of rows at once; the loop may not stand still for as long as they take."""

    async def run() -> None:
        source = await following(at)
        at.write("INSERT INTO posts SELECT seq, REPEAT('x', 60) FROM seq_1_to_40000")
        gaps: list[float] = []

        async def tick() -> None:
            while True:
                began = time.perf_counter()
                await asyncio.sleep(0)
                gaps.append(time.perf_counter() - began)

        ticking = asyncio.create_task(tick())
        began = time.perf_counter()
        step = await source.step(5.0, b"", None)
        taken = time.perf_counter() - began
        ticking.cancel()
        assert len(step.changes["posts"].rows) == 40_000
        # on a busy machine anything may be late once; the bulk of it may not be one piece
        assert sorted(gaps)[-2] < max(0.05, taken / 5)
        await source.close()

    asyncio.run(run())
