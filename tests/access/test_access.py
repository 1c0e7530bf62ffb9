"""Who sends a request: nobody, this machine, a key; and when what was said of somebody is no longer true."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tcsql.access.callers import ANONYMOUS, LOCAL, Caller
from tcsql.access.keyfile import KeyFile
from tcsql.access.keys import Key, Keys, digest_of, revoked, rotated, token_of
from tcsql.access.scopes import Scope
from tcsql.errors import NotLocal, Unauthorized
from tcsql.http import access as access_module
from tcsql.http.access import Access

NOW = 1_800_000_000.0
TOKEN = token_of("3f9a0c12", bytes(range(32)))
OTHER = token_of("3f9a0c12", bytes(range(1, 33)))
READER = Key(id="3f9a0c12", name="web", sha256=digest_of(TOKEN), scopes=frozenset({Scope.READ}), made=5, rate=10)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def told(access: Access) -> list[int]:
    calls: list[int] = []
    access.on_change(lambda: calls.append(1))
    return calls


def refusal(caller: Caller) -> tuple[str, str]:
    assert caller.refused is not None
    assert not any(caller.has(scope) for scope in Scope)
    return caller.refused.code, caller.refused.message


def test_without_keys_this_machine_may_do_everything_and_nobody_else_anything() -> None:
    access = Access()
    assert not access.has_keys
    assert access.caller("", is_local=True) is LOCAL
    assert access.caller(f"Bearer {TOKEN}", is_local=True) is LOCAL
    assert isinstance(access.caller("", is_local=False).refused, NotLocal)
    assert isinstance(access.caller(f"Bearer {TOKEN}", is_local=False).refused, NotLocal)


@pytest.mark.parametrize("is_local", [True, False])
def test_with_keys_nobody_is_trusted_for_where_they_sit(is_local: bool) -> None:
    for ring in (Keys([READER]), Keys([revoked(READER, 6)]), Keys()):
        access = Access(ring, Clock())
        assert access.has_keys
        assert access.caller("", is_local) is ANONYMOUS
    caller = Access(Keys([READER]), Clock()).caller(f"Bearer {TOKEN}", is_local)
    assert (caller.id, caller.rights, caller.refused) == ("3f9a0c12", READER.rights, None)


@pytest.mark.parametrize(
    "header", [f"bearer {TOKEN}", f"BEARER   {TOKEN}", f" Bearer {TOKEN}\t"], ids=["case", "blanks", "around"]
)
def test_the_scheme_is_read_as_http_spells_it(header: str) -> None:
    assert Access(Keys([READER]), Clock()).caller(header, is_local=False).id == "3f9a0c12"


def test_unknown_wrong_and_revoked_keys_are_refused_alike() -> None:
    gone = replace(READER, id="00000001", name="gone")
    access = Access(Keys([READER, revoked(gone, 6)]), Clock())
    headers = [
        f"Bearer {OTHER}",
        f"Bearer {token_of('00000009', bytes(range(32)))}",
        f"Bearer {token_of('00000001', bytes(range(32)))}",
        f"Bearer {TOKEN}, Bearer {TOKEN}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer",
        "x",
        f"Bearer {TOKEN}\u00e9",
    ]
    callers = {access.caller(header, is_local=True) for header in headers}
    assert {refusal(caller) for caller in callers} == {("unauthorized", "the key is not one of this server")}
    assert {caller.id for caller in callers} == {"refused"}, "what a stranger sends is never logged"


def test_an_expired_key_is_told_so_once_its_secret_is_right() -> None:
    clock = Clock()
    access = Access(Keys([replace(READER, expires=int(NOW) + 10)]), clock)
    assert access.caller(f"Bearer {TOKEN}", is_local=True).refused is None
    clock.now += 10
    assert refusal(access.caller(f"Bearer {TOKEN}", is_local=True)) == ("unauthorized", "the key has expired")
    assert refusal(access.caller(f"Bearer {OTHER}", is_local=True))[1] == "the key is not one of this server"


def test_a_key_has_one_caller_and_one_meter_as_long_as_it_is_what_it_was() -> None:
    other = replace(READER, id="00000001", name="other", rate=None)
    access = Access(Keys([READER]), Clock())
    caller = access.caller(f"Bearer {TOKEN}", is_local=True)
    assert caller.meter is not None
    assert (caller.meter.rate, caller.meter.burst) == (10, 20)
    assert [caller.meter.take(NOW) for _ in range(21)] == [True] * 20 + [False]
    access.replace(Keys([READER, other]))
    assert access.caller(f"Bearer {TOKEN}", is_local=True) is caller, "its meter is not filled by another key"
    access.replace(Keys([replace(READER, rate=20), other]))
    again = access.caller(f"Bearer {TOKEN}", is_local=True)
    assert again.meter is not None
    assert again.meter.rate == 20
    assert access.caller(f"Bearer {token_of('00000001', bytes(range(32)))}", is_local=True).meter is None


def test_rotating_does_not_fill_a_meter() -> None:
    access = Access(Keys([READER]), Clock())
    meter = access.caller(f"Bearer {TOKEN}", is_local=True).meter
    access.replace(Keys([rotated(READER, digest_of(OTHER), int(NOW), 60)]))
    callers = [access.caller(f"Bearer {token}", is_local=True) for token in (TOKEN, OTHER)]
    assert [caller.meter is meter for caller in callers] == [True, True]


def test_who_remembers_callers_is_told_of_every_change_and_of_every_end() -> None:
    clock = Clock()
    key = rotated(replace(READER, expires=int(NOW) + 30), digest_of(OTHER), int(NOW), 10)
    access = Access(Keys([key]), clock)
    calls = told(access)
    for after, expected in ((0, 0), (9, 0), (10, 1), (11, 1), (29, 1), (31, 2), (40, 2)):
        clock.now = NOW + after
        access.look()
        assert len(calls) == expected, after
    clock.now = NOW  # set back: the key is good again, and ends again
    access.look()
    assert len(calls) == 3
    clock.now = NOW + 31
    access.look()
    assert len(calls) == 4
    access.replace(Keys([revoked(key, int(NOW))]))
    assert len(calls) == 5


def test_the_first_key_closes_the_server_while_it_runs() -> None:
    access = Access(None, Clock())
    calls = told(access)
    access.replace(Keys([READER]))
    assert calls == [1]
    assert access.caller("", is_local=True) is ANONYMOUS


def test_what_was_done_to_keys_is_logged_by_id_and_name(caplog: pytest.LogCaptureFixture) -> None:
    access = Access(Keys([READER]), Clock())
    noted: list[tuple[str, str]] = []
    access.on_key(lambda what, key: noted.append((what, key.id)))
    access.replace(Keys([rotated(READER, digest_of(OTHER), int(NOW), 0)]))
    access.replace(Keys([revoked(READER, int(NOW)), replace(READER, id="00000001", name="new")]))
    assert noted == [("rotated", "3f9a0c12"), ("revoked", "3f9a0c12"), ("made", "00000001")]
    lines = [(record.getMessage(), record.__dict__["key"], record.__dict__["key_name"]) for record in caplog.records]
    assert lines[0] == ("a key was rotated", "3f9a0c12", "web")
    assert lines[2] == ("a key was made", "00000001", "new")
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_the_watch_takes_what_was_written_and_keeps_what_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_module, "LOOK_S", 0.005)
    file = KeyFile(tmp_path)
    access = Access(file.read(), Clock())

    async def until(condition: object) -> None:
        assert callable(condition)
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)

    async def use() -> None:
        watching = asyncio.create_task(access.watch(file))
        KeyFile(tmp_path).change(lambda ring: ring.with_(READER))
        await until(lambda: access.caller(f"Bearer {TOKEN}", is_local=False).refused is None)
        (tmp_path / "keys.json").unlink()
        (tmp_path / "keys.lock").unlink()
        await asyncio.sleep(0.05)
        assert access.caller("", is_local=True) is ANONYMOUS
        assert access.caller(f"Bearer {TOKEN}", is_local=False).refused is None
        KeyFile(tmp_path).change(lambda ring: ring.with_(revoked(READER, 9)))
        await until(lambda: isinstance(access.caller(f"Bearer {TOKEN}", is_local=False).refused, Unauthorized))
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching

    asyncio.run(use())
