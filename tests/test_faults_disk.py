"""E5: a disk that is really full, broken or slow under a real server. Reads go on, nothing acknowledged is lost."""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tcsql.storage.check import check_store
from tests.baddisk import BadDisk
from tests.http.serving import Running, serving, wait_for
from tests.results import record
from tests.smalldisk import KINDS, SmallDisk, small_disk
from tests.strategies import EFFORT

TABLE = "CREATE TABLE t (id INT PRIMARY KEY, n INT, body MEDIUMTEXT, KEY (n))"
SIZE = 16 << 20


def insert(server: Running, number: int, size: int = 5_000) -> httpx.Response:
    return server.post("command=insert&table=t", {"id": number, "n": number % 7, "body": "x" * size})


def status(server: Running) -> dict[str, Any]:
    return dict(server.client.get(server.url + "/status").json())


def count(server: Running) -> int:
    answer = server.get("command=select&table=t&type=count")
    assert answer.status_code == 200, answer.text
    return int(answer.json()["count"])


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, str(answer.json()["error"]["code"])


def messages(server: Running, of: str = "tcsql.storage") -> list[str]:
    """What one logger said; every line of the log is JSON."""
    lines = [json.loads(line) for line in server.stderr().splitlines()]
    return [line["message"] for line in lines if line["logger"] == of]


def lines_of(first: int, rows: int) -> bytes:
    return b"".join(b'{"id":%d,"n":1,"body":"%s"}\n' % (first + number, b"y" * 2_000) for number in range(rows))


def fill_until_refused(server: Running, disk: SmallDisk, first: int) -> int:
    """Rows until one is refused; the number of that one."""
    disk.fill(server, left=100_000)
    for number in range(first, first + 1_000):
        answer = insert(server, number)
        if answer.status_code != 200:
            assert code(answer) == (507, "no_space") and "make room" in answer.json()["error"]["hint"]
            return number
    raise AssertionError("the disk never became full")


@pytest.fixture(params=KINDS[:1] if EFFORT == 1 else KINDS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    """One of each kind; where this machine forbids a kind, the next one it allows."""
    first = KINDS.index(request.param)
    with small_disk(tmp_path / "disk", SIZE, KINDS[first:]) as disk:
        yield disk


# --- no space -----------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_writes_keeps_reads_and_all_that_was_answered_and_heals(
    disk: SmallDisk, tmp_path: Path
) -> None:
    data = disk.directory / "data"
    with serving(data, within=disk.within) as server:
        server.sql(TABLE)
        refused = fill_until_refused(server, disk, 0)
        for _ in range(20):
            assert insert(server, refused).status_code == 507
        assert server.post("command=delete&table=t&where=id:NUMEQ:0").status_code == 507  # it needs the log, too
        assert server.post("command=sql", {"sql": "CREATE INDEX b ON t (body(20))"}).status_code == 507
        assert count(server) == refused
        now = status(server)
        assert (now["disk"], now["read_only"], now["refused"]) == ("no_space", False, 23)
        assert server.client.get(server.url + "/ready").status_code == 200
        disk.free(server)
        assert insert(server, refused).status_code == 200  # at once, and without anybody's help
        wait_for(lambda: status(server)["disk"] == "ok")
        refused = fill_until_refused(server, disk, refused + 1)
        server.process.kill()  # a crash while it is full
        server.process.wait()
        told = messages(server)
        assert [line.split(",")[0] for line in told] == [
            "writes are refused",
            "writes are taken again",
            "writes are refused",
        ]
    with serving(data, within=disk.within) as server:  # and a start on a disk that is full, where it is a real one
        assert count(server) == refused
        disk.fill(server)
        assert insert(server, refused).status_code == 507
        disk.free(server)
        assert server.stop() == 0
    assert check_store(disk.copied("data", tmp_path / "copy")) == []


def test_a_load_into_a_disk_that_becomes_full_says_what_is_stored_and_where_to_go_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", SIZE) as disk, serving(disk.directory / "data", within=disk.within) as server:
        server.sql(TABLE)
        insert(server, 0)
        disk.fill(server, left=3 << 20)
        load = b"\n\n" + lines_of(1, 6_000)  # empty lines count as lines, and are no rows
        answer = server.post("command=insert&table=t", load, "application/x-ndjson")
        error = answer.json()["error"]
        assert code(answer) == (507, "no_space")
        assert error["applied"] + 2 + 1 == error["line"] and f"line {error['line']}" in error["message"]
        assert 0 < error["applied"] < 6_000
        assert count(server) == 1 + error["applied"]
        highest = server.rows("table=t&type=id&order_by=id&order_sort=NUMDESC&limit_max=1")
        assert highest == [{"id": error["applied"]}]  # the first rows, without a hole
        disk.free(server)
        rest = b"\n".join(load.split(b"\n")[error["line"] - 1 :])
        assert server.post("command=insert&table=t", rest, "application/x-ndjson").status_code in (200, 507)


def test_a_backup_that_has_no_room_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", SIZE) as disk, serving(disk.directory / "data", within=disk.within) as server:
        if disk.kind == "file-size":
            pytest.skip("NOT TESTED: no file system can be mounted here; run the tests where unshare is allowed")
        server.sql(TABLE)
        server.post("command=insert&table=t", lines_of(0, 1_500), "application/x-ndjson")
        for left in (0, 1 << 20):
            disk.fill(server, left)
            answer = server.client.get(server.url + "/backup")
            assert code(answer) == (507, "no_space") and "backup" in answer.json()["error"]["message"]
            assert not list((disk.seen / "data").glob("backup*"))
            disk.free(server)
        assert insert(server, 99_999).status_code == 200
        whole = server.client.get(server.url + "/backup")
        assert whole.status_code == 200 and whole.content.startswith(b"SQLite format 3\0")
        assert "bug" not in server.stderr()


def test_a_start_on_a_full_disk_serves_reads_or_says_what_is_missing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", SIZE) as disk:
        data = disk.directory / "data"
        with serving(data, within=disk.within) as server:
            server.sql(TABLE)
            insert(server, 1)
            assert server.stop() == 0
            disk.fill(server)  # after a clean stop: not even SQLite's shared memory is there
        if disk.kind == "file-size":
            pytest.skip("NOT TESTED: no file system can be mounted here; run the tests where unshare is allowed")
        with (
            pytest.raises(AssertionError, match=r"tcsql: .*no space left.*\(make room on the data directory's disk\)"),
            serving(data, within=disk.within),
        ):
            pass
        (disk.seen / "ballast").unlink()
        with serving(data, within=disk.within) as server:
            assert count(server) == 1


def test_the_interval_that_a_full_disk_takes_back_is_told_in_the_log(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", SIZE) as disk,
        serving(disk.directory / "data", "--durability", "interval", within=disk.within) as server,
    ):
        server.sql(TABLE)
        insert(server, 1)
        wait_for(lambda: status(server)["pending"] == 0)
        disk.fill(server)
        answered = [insert(server, number).status_code for number in range(2, 12)]
        assert answered == [200] * 10 and count(server) == 11
        wait_for(lambda: status(server)["disk"] == "no_space")
        assert count(server) == 1  # the disk's truth
        assert status(server)["undone"] == 10
        assert "10 writes that were answered before they were durable are undone" in messages(server)
        disk.free(server)


# --- I/O errors ---------------------------------------------------------------------------------------------


@contextmanager
def on_bad_disk(directory: Path, *flags: str) -> Iterator[tuple[Running, BadDisk]]:
    disk = BadDisk.make(directory)
    with serving(directory / "data", *flags, variables=disk.variables) as server:
        yield server, disk
        disk.order()


@pytest.mark.parametrize(
    "order",
    [{"sync_error": errno.EIO}, {"write_error": errno.EIO}, {"sync_error": errno.ENOSPC}][:: 1 if EFFORT > 1 else 2],
)
def test_an_io_error_ends_writing_until_a_restart_and_reads_go_on(tmp_path: Path, order: dict[str, int]) -> None:
    """Also a sync that says "no space": what it should have made durable is unknown."""
    with on_bad_disk(tmp_path) as (server, disk):
        server.sql(TABLE)
        assert insert(server, 1).status_code == 200
        disk.order(**order)
        first = insert(server, 2)
        assert first.status_code in (500, 503), first.text
        assert code(first) in ((503, "read_only"), (500, "outcome_unknown"))
        disk.order()  # well again: nothing is tried blindly
        syncs = disk.syncs
        for number in range(3, 8):
            assert code(insert(server, number)) == (503, "read_only")
        assert disk.syncs == syncs
        assert "restart" in insert(server, 3).json()["error"]["hint"]
        assert count(server) == 1
        assert status(server)["read_only"] is True and status(server)["disk"] == "read_only"
        assert len(messages(server)) == 1 and "writing has ended" in messages(server)[0]
        server.stop()
    with serving(tmp_path / "data") as server:
        assert count(server) == 1
        assert insert(server, 2).status_code == 200


def test_a_store_that_cannot_be_read_at_the_start_is_not_served(tmp_path: Path) -> None:
    with on_bad_disk(tmp_path) as (server, disk):
        server.sql(TABLE)
        server.post("command=insert&table=t", lines_of(0, 500), "application/x-ndjson")
        assert server.stop() == 0
    disk = BadDisk.make(tmp_path)
    disk.order(read_error=errno.EIO)
    with (
        pytest.raises(AssertionError, match=r"tcsql: .*disk I/O error.*\(look at the disk and the system's log\)"),
        serving(tmp_path / "data", variables=disk.variables),
    ):
        pass


# --- a slow disk --------------------------------------------------------------------------------------------

WRITERS = 32


def test_on_a_slow_disk_writers_share_its_syncs_and_reads_do_not_wait(tmp_path: Path) -> None:
    slow_s = 1.0 if EFFORT == 1 else 2.0
    slowest_read = slowest_write = 0.0
    with on_bad_disk(tmp_path) as (server, disk), ThreadPoolExecutor(WRITERS) as pool:
        server.sql(TABLE)
        disk.order(sync_ms=int(slow_s * 1000))
        before = disk.syncs

        def write(number: int) -> float:
            began = time.monotonic()
            with httpx.Client(timeout=30) as client:
                answer = client.post(f"{server.url}/?command=insert&table=t", json={"id": number, "body": "x"})
            assert answer.status_code == 200, answer.text
            return time.monotonic() - began

        writes = [pool.submit(write, number) for number in range(WRITERS)]
        reads = 0
        while not all(write.done() for write in writes):
            began = time.monotonic()
            count(server)
            slowest_read = max(slowest_read, time.monotonic() - began)
            reads += 1
        slowest_write = max(write.result() for write in writes)
        syncs = disk.syncs - before
        disk.order()
        assert count(server) == WRITERS
    passed = slowest_read < slow_s / 2 and syncs <= 4 and reads > 20
    record(
        "E5-slow",
        passed,
        sync_s=slow_s,
        writers=WRITERS,
        reads=reads,
        slowest_read_ms=round(slowest_read * 1000, 1),
        slowest_write_s=round(slowest_write, 2),
        syncs=syncs,
    )
    assert passed, (slowest_read, syncs, reads)


def test_a_stop_waits_for_a_slow_disk(tmp_path: Path) -> None:
    with on_bad_disk(tmp_path, "--durability", "interval", "--interval-ms", "60000") as (server, disk):
        server.sql(TABLE)
        for number in range(20):
            assert insert(server, number).status_code == 200
        disk.order(sync_ms=300)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began > 0.6
    with serving(tmp_path / "data") as server:
        assert count(server) == 20 and status(server)["recovered_clean"]


# --- all of it, again and again -----------------------------------------------------------------------------


def test_full_again_and_again_under_load_loses_nothing_answered(tmp_path: Path) -> None:
    """E5: eight writers, a disk that is full every other moment, a crash now and then."""
    rounds = 1 if EFFORT == 1 else 25
    acknowledged: set[int] = set()
    refused = slowest_read = 0.0
    lock = threading.Lock()
    with small_disk(tmp_path / "disk", 64 << 20) as disk:
        data = disk.directory / "data"
        for life in range(rounds):
            with serving(data, within=disk.within) as server:
                if not life:
                    server.sql(TABLE)
                stop = threading.Event()

                def write(writer: int, life: int = life, stop: threading.Event = stop, url: str = server.url) -> None:
                    nonlocal refused
                    with httpx.Client(timeout=20) as client:
                        for number in range(10_000):
                            row = {"id": (life * 8 + writer) * 10_000 + number, "body": "x" * (number % 9 * 300)}
                            try:
                                answer = client.post(f"{url}/?command=insert&table=t", json=row)
                            except httpx.TransportError:
                                return
                            with lock:
                                if answer.status_code == 200:
                                    acknowledged.add(row["id"])  # type: ignore[arg-type]  # an int
                                else:
                                    assert code(answer) == (507, "no_space"), answer.text
                                    refused += 1
                            if stop.is_set():
                                return

                with ThreadPoolExecutor(8) as pool:
                    writers = [pool.submit(write, writer) for writer in range(8)]
                    for _ in range(2):
                        disk.fill(server)
                        time.sleep(0.2)
                        began = time.monotonic()
                        count(server)
                        slowest_read = max(slowest_read, time.monotonic() - began)
                        disk.free(server)
                        time.sleep(0.2)
                    if not life % 2:
                        server.process.kill()
                    stop.set()
                    for writer in writers:
                        writer.result()
                if life % 2:
                    assert server.stop() == 0
        with serving(data, within=disk.within) as server:
            found: set[int] = set()
            after = ""
            while after is not None:
                page = server.get(f"command=select&type=id&limit_max=10000{f'&after={after}' if after else ''}").json()
                found |= {row["id"] for row in page["rows"]}
                after = page["next"]
            assert server.stop() == 0
        faults = check_store(disk.copied("data", tmp_path / "copy"))
    lost, phantoms = acknowledged - found, found - acknowledged
    passed = not lost and len(phantoms) <= 8 * rounds and not faults and refused > 0
    record(
        "E5",
        passed,
        disk=disk.kind,
        lives=rounds,
        acknowledged=len(acknowledged),
        refused=int(refused),
        lost=len(lost),
        unanswered_but_done=len(phantoms),
        slowest_read_ms=round(slowest_read * 1000, 1),
    )
    assert passed, (len(lost), len(phantoms), faults, refused)
