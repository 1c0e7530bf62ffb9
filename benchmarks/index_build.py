"""How long an index takes to build itself, and how long at a time: ``python -m benchmarks.index_build [ROWS]``.

A table of that many rows (1 M) gets one index after another and loses it again. As in a server, background work has
4 ms at a time; after each slice one row is inserted, one behind the mark is changed and one deleted. Printed are the
whole time, the longest slice by the clock and by the processor's own count (the machine may have other work), the
longest single write, and the same for taking the index apart. A server adds a pause of 8 ms to each slice.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.shape import TABLE, posts, schema, to_json
from tcsql.engine.change import Change, CreateIndex, Delete, DropIndex, Update, Upsert
from tcsql.engine.database import Database
from tcsql.engine.query import Condition, Filter, Operator
from tcsql.engine.schema import IndexDef
from tcsql.storage import memory
from tcsql.storage.options import utc_now
from tcsql.storage.store import MAINTAIN_SLICE_S

#: One of each form: partitioned with few and with many values, packed numbers, tuples, a text index.
INDEXES: Final = (
    IndexDef("auto", ("idtype",), automatic=True),
    IndexDef("auto", ("idtype", "hits"), automatic=True),
    IndexDef("auto", ("hits", "dateline"), automatic=True),
    IndexDef("auto", ("uid", "idtype"), automatic=True),
    IndexDef("auto", ("title",), automatic=True),
    IndexDef("auto", ("title", "idtype"), automatic=True),
    IndexDef("text", ("title",), fulltext=True),
)


@dataclass(slots=True)
class Slices:
    """What background work took: in all, and at most at a time."""

    total_s: float = 0.0
    longest_s: float = 0.0
    longest_cpu_s: float = 0.0
    write_s: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.total_s:6.2f} s, slices at most {1e3 * self.longest_s:5.1f} ms "
            f"({1e3 * self.longest_cpu_s:4.1f} ms of the processor), writes {1e3 * self.write_s:4.1f} ms"
        )


def commit(database: Database, change: Change) -> float:
    """Check and apply; the seconds that took."""
    began = time.perf_counter()
    database.apply(database.check([change], utc_now()))
    return time.perf_counter() - began


def changes(rows: int) -> Iterator[Change]:
    """An insert, a change and a deletion, again and again."""
    for number, post in enumerate(posts(rows, first_id=rows + 1)):
        yield Upsert(TABLE, [post._asdict()])
        for change, victim in ((Update, 7 * number), (Delete, 7 * number + 1)):
            where = Filter(((Condition(None, Operator.NUMEQ, str(1 + victim % rows)),),))
            yield change(TABLE, where, {"hits": number % 2_000}) if change is Update else Delete(TABLE, where)


def work_off(database: Database, writes: Iterator[Change] | None) -> Slices:
    """Let background work go on in slices until nothing is left."""
    found = Slices()
    left = True
    while left:
        began, cpu = time.perf_counter(), time.thread_time()
        until = began + MAINTAIN_SLICE_S
        left = database.maintain(lambda until=until: time.perf_counter() < until)  # type: ignore[misc]  # mypy infers no type for a lambda's default
        taken = time.perf_counter() - began
        found.total_s += taken
        found.longest_s = max(found.longest_s, taken)
        found.longest_cpu_s = max(found.longest_cpu_s, time.thread_time() - cpu)
        for _ in range(3 if writes is not None else 0):
            assert writes is not None
            found.write_s = max(found.write_s, commit(database, next(writes)))
    return found


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    memory.tune_process()
    database = Database()
    database.restore(1, schema(), rows + 1, ((0, to_json(post)) for post in posts(rows)))
    gc.collect()
    gc.freeze()
    writes = changes(rows)
    for definition in INDEXES:
        apply_s = commit(database, CreateIndex(TABLE, definition))
        built = work_off(database, writes)
        index = database.table(TABLE).indexes[database.schema(TABLE).indexes[-1].name]
        size = index.memory_bytes / len(database.table(TABLE))
        name = f"{'FULLTEXT ' if definition.fulltext else ''}({', '.join(definition.columns)})"
        print(f"{name}: began in {1e3 * apply_s:.1f} ms, {size:.0f} bytes a row")
        print(f"    built        {built}")
        drop_s = commit(database, DropIndex(TABLE, index.definition.name, may_return=True))
        del index
        print(f"    taken apart  {work_off(database, writes)}; dropped in {1e3 * drop_s:.1f} ms")


if __name__ == "__main__":
    main()
