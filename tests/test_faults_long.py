"""Faults that take their time: what a server says of a disk that does not answer, and what another user finds.

A part of ``make torture`` only.
"""

from __future__ import annotations

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.http.serving import command, environment, serving, wait_for
from tests.test_faults_disk import TABLE, code, count, insert, on_bad_disk, status
from tests.test_faults_store import USER, data, fingerprint, says, serve

__all__ = ["data"]  # a fixture


def test_more_than_a_slow_disk_takes_is_refused_and_memory_stays_bounded(tmp_path: Path) -> None:
    """Durability interval answers at once, so only the queue bounds what waits: 100 MB of rows, then 503."""
    with on_bad_disk(tmp_path, "--durability", "interval", "--interval-ms", "50") as (server, disk):
        server.sql(TABLE)
        disk.order(sync_ms=60_000)
        body = [{"id": number, "body": "x" * 900_000} for number in (1,)]
        refusals: list[tuple[int, str]] = []
        stop = threading.Event()

        def write() -> None:
            with httpx.Client(timeout=30) as client:
                while not stop.is_set():
                    answer = client.post(f"{server.url}/?command=insert&table=t", json=body)
                    if answer.status_code != 200:
                        refusals.append(code(answer))
                        assert answer.headers["retry-after"]
                        stop.set()

        with ThreadPoolExecutor(8) as pool:
            for writer in [pool.submit(write) for _ in range(8)]:
                writer.result()
        assert set(refusals) == {(503, "overloaded")}
        assert count(server) == 1
        assert 50 < status(server)["pending"] < 140  # of 0.9 MB each
        disk.order()
        wait_for(lambda: status(server)["pending"] == 0, 20)
        assert insert(server, 2).status_code == 200


def test_a_disk_that_never_answers_is_told_of_and_a_second_signal_ends_it(tmp_path: Path) -> None:
    with on_bad_disk(tmp_path, "--drain-s", "0", "--durability", "interval", "--interval-ms", "60000") as (
        server,
        disk,
    ):
        server.sql(TABLE)
        assert insert(server, 1).status_code == 200
        disk.order(sync_ms=600_000)
        server.client.close()
        server.process.terminate()
        wait_for(lambda: "the disk does not answer: 2 writes wait for it" in server.stderr(), 15)
        assert server.process.poll() is None
        server.process.terminate()
        assert server.process.wait(10) == 1
        assert "ended without waiting for the disk: 2 writes" in server.stderr().splitlines()[-1]
    with serving(tmp_path / "data") as server:
        assert count(server) in (0, 1)


def test_a_directory_of_another_user_is_told(data: Path, tmp_path: Path) -> None:
    for step in (tmp_path, *tmp_path.parents):
        if step.stat().st_uid == os.geteuid() and step != Path("/") and step != Path("/tmp"):
            step.chmod(step.stat().st_mode | 0o055)
    if not _nobody_can_run_us():
        pytest.fail("nobody cannot read the program: install it where all users may")
    says(serve(data, as_nobody=True), 2, "Permission denied", "run this as the user that owns it")
    data.chmod(0o777)
    before = fingerprint(data)
    (data / "lock").unlink()
    says(serve(data, as_nobody=True), 2, "check the rights on the data directory and its files")
    assert fingerprint(data) == before


def _nobody_can_run_us() -> bool:
    found = subprocess.run(
        ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command("version")],
        env=environment(),
        cwd="/",
        capture_output=True,
        check=False,
    )
    return found.returncode == 0
