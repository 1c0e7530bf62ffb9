"""Whoever reads a log is killed behind any event of it, and goes on from the place that it has stored: nothing is told
twice, nothing is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tcsql.replication.binlog.events import events_of_file, header_of
from tcsql.replication.binlog.place import Place, place_of
from tcsql.replication.binlog.stream import Commit, Item, Parser, Schema
from tcsql.replication.binlog.tables import Change
from tests.replication.binlog.record import Recording, names
from tests.replication.binlog.test_recordings import FILE, rotate
from tests.results import is_torture

NAMES = names() if is_torture() else [name for name in names() if name.endswith("transactions")]


def told(items: Sequence[Item]) -> list[Item]:
    return [item for item in items if isinstance(item, (Change, Commit, Schema))]


def whole(items: Sequence[Item]) -> list[Item]:
    """Up to the last end: the rest is lost with whoever held it."""
    last = max((at for at, item in enumerate(items) if isinstance(item, Commit)), default=-1)
    return list(items[: last + 1])


def from_place(kept: Recording, events: Sequence[bytes], place: Place) -> tuple[list[Item], Place]:
    """All that is told from a place on, and where that ends. A server sends the head of the file first."""
    parser = Parser(kept.tables, place)
    items = list(parser.feed(rotate(FILE)))
    begin = place.start.position
    for number, event in enumerate(events):
        if number == 0 or header_of(event).position > begin:
            items += parser.feed(event)
    return told(items), place_of(parser.place.encoded())


@pytest.mark.parametrize("by", ["gtids", "file"] if is_torture() else ["gtids"])
@pytest.mark.parametrize("name", NAMES)
def test_killed_behind_any_event_it_goes_on_and_tells_the_rest_once(name: str, by: str) -> None:
    kept = Recording(name)
    events = list(events_of_file(kept.data))
    first = Place(gtids=kept.before if by == "gtids" else "")
    all_items, end = from_place(kept, events, first)
    ends = 0
    for stop in range(1, len(events) + 1):
        before, place = from_place(kept, events[:stop], first)
        done = whole(before)
        after, last = from_place(kept, events, place)
        assert [*done, *after] == all_items, f"killed behind event {stop}"
        assert last == end
        ends += done != before
    assert ends > 0, "some event is in the middle of a transaction"
