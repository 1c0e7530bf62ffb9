"""Logs that servers wrote and what they answered then: read whole, cut, broken in every way, and never wrong."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any
from zlib import crc32

import pytest

from tcsql.errors import SourceFault
from tcsql.replication.binlog.compiled import RowCode
from tcsql.replication.binlog.events import HEADER_BYTES, Type, events_of_file, header_of
from tcsql.replication.binlog.faults import BinlogFault
from tcsql.replication.binlog.gather import Gathering
from tcsql.replication.binlog.place import Place, place_of
from tcsql.replication.binlog.rowsevent import ROWS
from tcsql.replication.binlog.stream import Commit, Parser, Schema
from tcsql.replication.binlog.tables import Change, Expected
from tcsql.replication.source import Rows
from tests.replication.binlog.logs import Told, as_tuple, items_of
from tests.replication.binlog.record import Recording, names
from tests.strategies import EFFORT

SMALL = [name for name in names() if "big" not in name]
#: What a mutated log may ask for, beyond what it holds.
MOST_EXTRA_BYTES = 48 << 20
#: As servers call the file of a log.
FILE = "log.000001"


@cache
def recording(name: str) -> Recording:
    return Recording(name)


@cache
def events_of(name: str) -> tuple[bytes, ...]:
    return tuple(events_of_file(recording(name).data))


def rows_told(told: Told, table: str) -> list[dict[str, Any]]:
    return sorted(told.rows[table].values(), key=repr)


def wanted(kept: Recording, table: str) -> list[dict[str, Any]]:
    rows = [dict(row) for row in kept.rows[table]]
    for row in rows:
        if row.get("d2"):
            row["d2"] = row["d2"].lstrip("0") if row["d2"][:2] != "0." else row["d2"]  # ZEROFILL is only shown
            row["d2"] = f"0{row['d2']}" if row["d2"][0] == "." else row["d2"]
    return sorted(rows, key=repr)


def test_there_are_recordings_of_both_servers_and_they_are_small() -> None:
    assert {name.partition("-")[0] for name in names()} == {"mariadb", "mysql"}
    assert len(names()) == 10


@pytest.mark.parametrize("name", names())
def test_the_log_ends_in_the_rows_that_the_server_answered(name: str) -> None:
    kept = recording(name)
    parser = Parser(kept.tables, Place(gtids=kept.before))
    told = Told((item for event in events_of(name) for item in parser.feed(event)), kept.tables)
    assert told.misfits == []
    for table in kept.rows:
        assert kept.rows[table], "nothing was compared"
        assert rows_told(told, table) == wanted(kept, table)
    assert parser.place.gtids == kept.gtids


@pytest.mark.parametrize("name", names())
def test_a_gathering_ends_in_the_same_rows(name: str) -> None:
    kept = recording(name)
    held: dict[str, dict[Any, Any]] = {table: {} for table in kept.rows}
    gathering = Gathering()
    commits = 0
    for item in items_of(events_of(name), kept.tables):
        if isinstance(item, Change):
            gathering.add(item)
        elif isinstance(item, Commit):
            gathering.commit() if item.is_whole else gathering.undo()
            commits += 1
        if commits and commits % 3 == 0 and isinstance(item, Commit):
            _take(gathering, held, kept)
    _take(gathering, held, kept)
    for table, rows in held.items():
        assert sorted(rows.values(), key=repr) == wanted(kept, table)


def _take(gathering: Gathering, held: dict[str, dict[Any, Any]], kept: Recording) -> None:
    schemas = {table: expected.schema for (_, table), expected in kept.tables.items()}
    for table, change in gathering.take().items():
        assert not set(change.gone) & set(change.rows.pkeys), "a key is gone and there"
        for key in change.gone:
            held[table].pop(key, None)
        rows = zip(*change.rows.columns, strict=True)
        for key, values in zip(change.rows.pkeys, rows, strict=True):
            held[table][key] = dict(zip(schemas[table].names, values, strict=True))
    assert gathering.size == 0


@pytest.mark.parametrize("by", ["gtids", "file"])
@pytest.mark.parametrize("name", ["mariadb-transactions", "mysql-transactions", "mysql-packed"])
def test_reading_goes_on_from_every_end_of_a_transaction_without_telling_anything_twice(name: str, by: str) -> None:
    """Stop after each transaction, store the place, begin a new parser where that says: the same in the end."""
    kept = recording(name)
    whole = [item for item in items_of(events_of(name), kept.tables) if isinstance(item, (Change, Commit, Schema))]
    events = events_of(name)
    ends = [header_of(event).position for event in events]
    parser = Parser(kept.tables, Place(gtids=kept.before if by == "gtids" else ""))
    parser.feed(rotate(FILE))
    told = []
    stops = 0
    for event in events:
        items = list(parser.feed(event))
        told += [item for item in items if isinstance(item, (Change, Commit, Schema))]
        if items and isinstance(items[-1], Commit):
            place = place_of(parser.place.encoded())
            stops += 1
            parser = Parser(kept.tables, place)
            parser.feed(rotate(FILE))
            parser.feed(events[0])
            start = place.start
            assert start.file == FILE
            at = event if start.position == header_of(event).position else None
            # what was prepared before and has not ended is read again, silently
            for again, end in zip(events, ends, strict=True):
                if at is None and start.position < end <= header_of(event).position:
                    silent = list(parser.feed(again))
                    assert silent == []
    assert stops > 8
    assert told == whole


def rotate(file: str) -> bytes:
    """What a server says first: which file follows."""
    body = (4).to_bytes(8, "little") + file.encode()
    size = HEADER_BYTES + len(body)
    return bytes(4) + bytes([Type.ROTATE]) + bytes(4) + size.to_bytes(4, "little") + bytes(4) + b"\x20\0" + body


def test_a_gathering_forgets_what_is_undone_and_gives_parts_of_what_has_not_ended() -> None:
    kept = recording("mysql-plain")
    insert = next(item for item in items_of(events_of("mysql-plain"), kept.tables) if isinstance(item, Change))
    gathering = Gathering()
    gathering.add(insert)
    assert gathering.take() == {}
    gathering.undo()
    gathering.commit()
    assert (gathering.take(), gathering.size, gathering.events) == ({}, 0, 0)
    gathering.add(insert)
    assert gathering.size >= insert.size > 0
    [(name, change)] = gathering.take_parts().items()
    assert (name, list(change.rows.pkeys), change.gone) == ("posts", [1, 2, 3, 4, 5], [])
    gathering.add(replace(insert, verb="delete", before=insert.rows.pkeys[:2], rows=Rows()))
    gathering.commit()
    assert gathering.take()["posts"].gone == [1, 2]


def test_keys_that_are_handed_on_within_a_statement_keep_their_rows() -> None:
    """UPDATE … SET id = id + 1: each row takes the key that another has left."""
    kept = recording("mysql-plain")
    insert = next(item for item in items_of(events_of("mysql-plain"), kept.tables) if isinstance(item, Change))
    moved = [5, 4, 3, 2, 1]
    columns = [[6, 5, 4, 3, 2], *(list(reversed(column)) for column in insert.rows.columns[1:])]
    gathering = Gathering()
    gathering.add(insert)
    gathering.add(replace(insert, verb="update", before=moved, rows=Rows([6, 5, 4, 3, 2], columns)))
    gathering.commit()
    change = gathering.take()["posts"]
    assert change.gone == [1]
    titles = dict(zip(change.rows.pkeys, change.rows.columns[2], strict=True))
    assert titles == dict(zip([2, 3, 4, 5, 6], insert.rows.columns[2], strict=True))


def test_xa_transactions_are_told_when_they_are_committed() -> None:
    for name in ("mariadb-transactions", "mysql-transactions"):
        kept = recording(name)
        told = Told(items_of(events_of(name), kept.tables), kept.tables)
        [place] = [
            at
            for at, changes in enumerate(told.transactions)
            if any(change.table[1] == "pairs" and ("xa", 1) in change.rows.pkeys for change in changes)
        ]
        before = [change.rows.pkeys for changes in told.transactions[:place] for change in changes]
        assert [100, 101, 102, 103] in before, "it was prepared before these rows and committed after them"


def test_schema_changes_are_told_in_their_place() -> None:
    for name in ("mariadb-transactions", "mysql-transactions"):
        kept = recording(name)
        told = Told(items_of(events_of(name), kept.tables), kept.tables)
        assert [text.replace("/* a comment */ ", "").split()[0].upper() for text in told.statements] == [
            *("CREATE", "ALTER", "TRUNCATE", "DROP"),
        ]
        assert "grüße" in told.statements[1]


@pytest.mark.parametrize("name", names())
def test_a_log_that_ends_anywhere_tells_the_transactions_before_its_end(name: str) -> None:
    kept, events = recording(name), events_of(name)
    whole = sum(isinstance(item, Commit) for item in items_of(events, kept.tables))
    last = 0
    for stop in range(1, len(events), max(1, len(events) // 12)):
        found = sum(isinstance(item, Commit) for item in items_of(events[:stop], kept.tables))
        assert last <= found <= whole
        last = found
    for cut in (3, 5, 100, len(kept.data) - 1):
        with pytest.raises(BinlogFault):
            list(items_of(events_of_file(kept.data[:cut]), kept.tables))


def test_a_killed_servers_last_transaction_is_taken_back() -> None:
    kept, events = recording("mariadb-plain"), events_of("mariadb-plain")
    at = next(at for at, event in enumerate(events) if header_of(event).type == Type.WRITE_V1)
    items = list(items_of([*events[: at + 1], *events], kept.tables))
    assert isinstance(items[0], Change)
    assert items[1] == Commit("", 0, is_whole=False)
    told = Told(items, kept.tables)
    assert rows_told(told, "posts") == wanted(kept, "posts")


# --- broken in every way --------------------------------------------------------------------------------------


def broken_events(event: bytes, random: Random, count: int) -> Iterator[bytes]:
    """The event with bits turned over, cut, and grown, its length as it was or set right."""
    for _ in range(count):
        data = bytearray(event)
        kind = random.randrange(4)
        if kind < 2:
            at = random.randrange(len(data))
            data[at] ^= 1 << random.randrange(8)
        elif kind == 2:
            del data[random.randrange(HEADER_BYTES, len(data)) :]
        else:
            at = random.randrange(HEADER_BYTES, len(data))
            data[at:at] = random.randbytes(random.randrange(1, 9))
        if kind >= 2 and random.random() < 0.7:
            data[9:13] = len(data).to_bytes(4, "little")
        if bytes(data) != event and not (len(data) == len(event) and data[17] != event[17] and event[4] == 15):
            yield bytes(data)


@pytest.mark.parametrize("name", SMALL)
def test_no_broken_event_is_accepted_and_none_leaves_a_trace(name: str) -> None:
    """Each is refused; then the right one comes, and in the end all rows are there."""
    kept, random = recording(name), Random(name)
    parser = Parser(kept.tables, has_checksums=True)
    items = []
    refused = 0
    for event in events_of(name):
        for broken in broken_events(event, random, 12 * EFFORT):
            with pytest.raises(BinlogFault):
                list(parser.feed(broken))
            refused += 1
        items += parser.feed(event)
    assert refused > 100
    told = Told(items, kept.tables)
    for table in kept.rows:
        assert rows_told(told, table) == wanted(kept, table)


def signed(event: bytes) -> bytes:
    """With its length and a checksum that fits: what a hostile or mistaken server could send."""
    data = bytearray(event)
    data[9:13] = len(data).to_bytes(4, "little")
    plain = bytes(data[:-4])
    summed = plain
    if event[4] == Type.FORMAT:
        flags = bytearray(plain)
        flags[17] &= 0xFE
        summed = bytes(flags)
    return plain + crc32(summed).to_bytes(4, "little")


def mutated(events: tuple[bytes, ...], random: Random) -> list[bytes]:
    """A log with one to four changes: bytes, numbers, pieces of other events, events left out, doubled, swapped."""
    found = list(events)
    for _ in range(random.randrange(1, 5)):
        at = random.randrange(len(found))
        data = bytearray(found[at])
        kind = random.randrange(9)
        place = random.randrange(4, len(data) - 4) if random.random() < 0.1 else random.randrange(19, len(data) - 3)
        if kind <= 2:
            data[place] = random.choice([0, 1, 127, 128, 250, 251, 252, 253, 254, 255, random.randrange(256)])
        elif kind == 3:
            data[place : place + 4] = random.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80"]
            )
        elif kind == 4:
            del data[place : place + random.randrange(1, 40)]
        elif kind == 5:
            other = random.choice(found)
            start = random.randrange(len(other))
            data[place:place] = other[start : start + random.randrange(1, 60)]
        elif kind == 6:
            del found[at]
        elif kind == 7:
            found.insert(random.randrange(len(found)), found[at])
        else:
            other_at = random.randrange(len(found))
            found[at], found[other_at] = found[other_at], found[at]
        if kind <= 5:
            found[at] = signed(bytes(data.ljust(HEADER_BYTES + 4, b"\0")))
        if not found:
            found = list(events)
    return found


def run(events: list[bytes], tables: dict[tuple[str, str], Expected]) -> str:
    """ "read" or the fault; anything else that is raised is a bug."""
    try:
        for item in items_of(events, tables):
            if isinstance(item, Change):
                lengths = {len(column) for column in item.rows.columns} | {len(item.rows.pkeys)}
                assert len(lengths) == 1
                if item.verb == "update":
                    assert len(item.before) == len(item.rows.pkeys)
    except SourceFault as fault:
        return fault.message
    return "read"


ROUNDS = {"plain": 260, "transactions": 70, "types": 40, "packed": 30}


@pytest.mark.parametrize("name", SMALL)
def test_logs_with_mistakes_and_right_checksums_end_in_our_own_fault_or_are_read(name: str) -> None:
    kept, random = recording(name), Random(f"{name} 2")
    events = events_of(name)
    ends: dict[str, int] = {}
    slowest = 0.0
    for _ in range(ROUNDS[name.partition("-")[2]] * EFFORT):
        began = time.process_time()  # not that of others on a busy machine
        end = run(mutated(events, random), kept.tables)
        slowest = max(slowest, time.process_time() - began)
        ends[end] = ends.get(end, 0) + 1
    assert slowest < 5.0
    assert len(ends) > 5, "mistakes are found in many places"


@pytest.mark.parametrize("name", ["mariadb-plain", "mysql-plain", "mysql-packed", "mariadb-packed"])
def test_mistakes_never_cost_much_memory(name: str) -> None:
    kept, random = recording(name), Random(f"{name} 3")
    events = events_of(name)
    tracemalloc.start()
    try:
        for _ in range((60 if "plain" in name else 8) * EFFORT):
            log = mutated(events, random)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            run(log, kept.tables)
            assert tracemalloc.get_traced_memory()[1] - before < MOST_EXTRA_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", [name for name in names() if name.endswith(("plain", "types"))])
def test_a_row_that_ends_too_early_or_too_late_is_refused_though_its_checksum_fits(name: str) -> None:
    kept = recording(name)
    events = list(events_of(name))
    tried = 0
    for place, event in enumerate(events):
        if event[4] not in ROWS:
            continue
        for longer in (event[:-5] + event[-4:], event[:-4] + b"\0" + event[-4:], event[:-4] + b"\xff" * 3 + event[-4:]):
            with pytest.raises(BinlogFault):
                list(items_of([*events[:place], signed(longer)], kept.tables))
            tried += 1
    assert tried >= 9


# --- two ways to read a row -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in names() if "types" in name or "transactions" in name])
def test_code_that_was_written_for_a_shape_reads_what_the_general_routine_reads(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = recording(name)
    compiled = list(items_of(events_of(name), kept.tables))
    monkeypatch.setattr(RowCode, "_new_loop", lambda self, masks: None)
    assert list(items_of(events_of(name), kept.tables)) == compiled


def test_positions_ascend() -> None:
    for name in names():
        positions = [header_of(event).position for event in events_of(name)]
        assert all(first < second for first, second in pairwise(positions))


def test_keys_are_those_of_the_rows() -> None:
    for name in names():
        kept = recording(name)
        for item in items_of(events_of(name), kept.tables):
            if isinstance(item, Change) and item.verb != "delete":
                schema = kept.tables[item.table].schema
                if schema.primary_key == ("id",):
                    assert list(item.rows.pkeys) == list(item.rows.columns[schema.names.index("id")])
                assert all(len(as_tuple(key)) == len(schema.primary_key) for key in item.rows.pkeys)
