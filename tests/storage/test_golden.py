"""Stores of every format there has been open for ever, and hold what they held: see ``golden``."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from tcsql.engine.change import Upsert
from tcsql.storage import fileformat
from tcsql.storage.check import check_store
from tcsql.storage.store import Store
from tcsql.storage.upgrade import upgrade
from tests.storage.golden import FILES, STORES, changes, contents

FORMATS = tuple(range(1, fileformat.FORMAT_VERSION + 1))


def unpacked(number: int, directory: Path) -> dict[str, Any]:
    """The files of a crashed server of that format, and what is in them."""
    directory.mkdir()
    for file in FILES:
        packed = STORES / f"format-{number}{file.removeprefix('tcsql')}.gz"
        (directory / file).write_bytes(gzip.decompress(packed.read_bytes()))
    wanted: dict[str, Any] = orjson.loads((STORES / f"format-{number}.json").read_bytes())
    return wanted


def require_holds(store: Store, wanted: dict[str, Any]) -> None:
    """Everything that was there is there, and means the same; a newer schema may say more than an old one."""
    found = contents(store)
    assert found.keys() == wanted["tables"].keys()
    for name, table in wanted["tables"].items():
        assert (found[name]["rows"], found[name]["next"]) == (table["rows"], table["next"])
        assert found[name]["schema"].items() >= table["schema"].items()
    assert {source: at.decode() for source, at in store.positions().items()} == wanted["positions"]
    assert changes(store, wanted["since"]) == wanted["changes"]


@pytest.mark.parametrize("number", FORMATS)
def test_a_store_of_every_format_opens_after_a_crash_and_goes_on(number: int, tmp_path: Path) -> None:
    wanted = unpacked(number, tmp_path / "store")
    assert check_store(tmp_path / "store") == []
    store = Store.open(tmp_path / "store")
    assert store.recovered.lsn == wanted["lsn"]
    assert not store.recovered.clean
    require_holds(store, wanted)
    store.database.check_invariants()
    assert store.commit_blocking([Upsert("people", [{"name": "new", "hits": 1}])]).lsn > wanted["lsn"] + 900_000
    store.close()
    assert check_store(tmp_path / "store") == []
    store = Store.open(tmp_path / "store")
    assert store.recovered.clean
    assert b'{"name":"new","hits":1}' in store.database.rows("people")
    store.close()


@pytest.mark.parametrize("number", FORMATS)
def test_a_store_of_every_format_can_be_brought_to_the_newest(number: int, tmp_path: Path) -> None:
    wanted = unpacked(number, tmp_path / "store")
    assert upgrade(tmp_path / "store") is (number == 1)
    store = Store.open(tmp_path / "store")
    require_holds(store, wanted)
    assert store.status()["checksums"] is True
    store.close()


def test_there_is_a_store_of_the_format_that_is_written_now(tmp_path: Path) -> None:
    unpacked(fileformat.FORMAT_VERSION, tmp_path / "store")
    header = (tmp_path / "store" / fileformat.FILE_NAME).read_bytes()[:100]
    assert int.from_bytes(header[60:64], "big") == fileformat.FORMAT_VERSION
