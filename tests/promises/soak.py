"""``python -m tests.promises.soak``: E24, millions of mixed operations against one server: does it grow?

Clients of all kinds at once: known and unknown reads by the fast lane, single and bulk writes, updates and deletes,
requests that are refused, connections that come and go or break off in the middle, keys that are made and revoked,
published queries. The rows stay as many as they are, so whatever grows is a leak: E24 allows 1 MiB for 1 M operations.

Memory is what the server's process holds for itself alone (``RssAnon``: no code, no file of the store that is mapped).
What is made for a moment comes and goes between samples, what leaks stays: each of 40 windows of equally many
operations counts with its least sample. The growth is the slope through them by least squares, and the run passes when
the upper end of its 95 % interval is within the goal, so that a run too short or too noisy to tell does not pass. What
memory is at in one window it mostly still is in the next: the interval is widened by as much as the residuals of
neighbours are alike.

What has a bound must have reached it before growth is measured. The change log (100,000 changes) and with it SQLite's
page cache (16 MiB, of a file that holds little else) are filled before the first operation, by a table of its own: the
mix alone would take 200,000 operations for the one and 400,000 for the other, and looks like 60 MiB for 1 M until then.
What the mix itself has to reach (a log of its own small transactions, rows as long as it writes them, queries,
requests and header blocks that are remembered, the collector's garbage) it has after 400,000 operations.

    python -m tests.promises.soak                        8.64 M operations: an hour on a machine that does nothing else
    python -m tests.promises.soak --seconds 1800         as many as there are in that time
    python -m tests.promises.soak --samples samples.tsv  keeps what was measured: operations, seconds, MiB
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Annotated, Any, Final, NamedTuple

import typer
import uvloop

from tests.http.serving import Running, finished, serving
from tests.results import write

#: E24: growth of the server's memory.
GOAL_MIB: Final = 1.0
ROWS: Final = 20_000
#: Answers that nobody may get here; 503 is one that a busy machine gives to what would only wait.
WRONG: Final = (500, 501, 502, 507)
_CLIENTS: Final = 12
_PIPELINED: Final = 16
#: Of all operations; and so many at least, or half of them.
_WARM_UP: Final = 0.25
_LEAST_WARM_UP: Final = 400_000
#: Above the 100,000 changes that are logged, in batches that are not too large for it; 40 MB of them.
_FILL_BATCHES: Final = 110
_FILL_ROWS: Final = 1_000
_FILL_TEXT: Final = 180
_SAMPLE_S: Final = 0.5
_WINDOWS: Final = 40
#: Two-sided 95 %.
_NORMAL: Final = NormalDist().inv_cdf(0.975)
_PUBLISHED: Final = """
[published.few]
query = "table=posts&type=id,title&where=uid:NUMEQ:{uid:int(0..99)}&order_by=dateline&order_sort=NUMDESC"
page_rows = 5
"""
_ODD: Final = (
    *("/nothing", "/status", "/ready", "/openapi.json", "/q/nothing", "/q/few?uid=x", "/?command=x", "/sources/a%0ab"),
    *(
        f"/?command=select&table=posts&{rest}"
        for rest in ("where=nothing", "after=zz", "limit_max=100000000", "type=x")
    ),
)
_DDL: Final = (
    "CREATE TABLE posts (id INT PRIMARY KEY AUTO_INCREMENT, uid INT, dateline INT, title VARCHAR(80), KEY (uid),"
    " KEY uid_dateline (uid, dateline))"
)


class Sample(NamedTuple):
    """What the server holds after so many operations."""

    operations: int
    seconds: float
    mib: float


class Growth(NamedTuple):
    """MiB for 1 M operations, and the interval that holds it with 95 %."""

    slope: float
    low: float
    high: float


class Soak:
    """The clients of one run. ``operations``: how many requests or connections in all."""

    def __init__(self, server: Running, key: str, directory: Path, operations: int) -> None:
        self._address = server.address
        self._key = key
        self._directory = directory
        self._left = operations
        self.done = 0
        self.statuses: Counter[int] = Counter()
        self.kinds: Counter[str] = Counter()

    def end(self) -> None:
        """Begin nothing more."""
        self._left = 0

    async def run(self) -> None:
        """Until all operations are done."""
        async with asyncio.TaskGroup() as group:
            for number in range(_CLIENTS):
                group.create_task(self._client(random.Random(number)))
            group.create_task(self._keys())

    async def _client(self, dice: random.Random) -> None:
        while self._left > 0:
            reader, writer = await asyncio.open_connection(*self._address)
            try:
                for _ in range(dice.choice((1, 5, 300, 300, 300))):
                    if self._left <= 0:
                        break
                    batch = [self._request(dice) for _ in range(_PIPELINED)]
                    self._left -= len(batch)
                    writer.writelines(batch)
                    for _ in batch:
                        status, closes = await _reply(reader)
                        self.statuses[status] += 1
                        self.done += 1
                        if closes:
                            break
                    if closes:
                        break
                if dice.random() < 0.3:
                    writer.write(self._request(dice)[: dice.randrange(10, 60)])  # breaks off in the middle
                    self.kinds["cut"] += 1
            finally:
                writer.close()

    def _request(self, dice: random.Random) -> bytes:
        kind, line, body, content = self._any(dice)
        self.kinds[kind] += 1
        head = f"{line} HTTP/1.1\r\nHost: localhost\r\n"
        if kind not in ("published", "anonymous"):
            head += f"Authorization: Bearer {self._key}\r\n"
        if dice.random() < 0.02:
            head += f"X-Trace: {dice.randrange(10**9)}\r\n"  # a block of headers that comes once
        if content:
            head += f"Content-Type: {content}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body if content else f"{head}\r\n".encode()

    def _any(self, dice: random.Random) -> tuple[str, str, bytes, str]:
        number, uid = dice.randrange(1, ROWS + 1), dice.randrange(100)
        draw = dice.random()
        table = "/?command=select&table=posts"
        if draw < 0.45:
            return (
                "known",
                f"GET {table}&where=uid:NUMEQ:{uid}&order_by=dateline&order_sort=NUMDESC&limit_max=5",
                b"",
                "",
            )
        if draw < 0.55:
            return "count", f"GET {table}&type=count&where=uid:NUMEQ:{uid}|dateline:NUMGT:{number}", b"", ""
        if draw < 0.62:
            shape = "|".join(f"dateline:NUM{dice.choice(('GT', 'LT', 'GE'))}:{dice.random() * ROWS}" for _ in range(3))
            return "unknown", f"GET {table}&where=uid:NUMEQ:{uid}|{shape}&limit_max={dice.randrange(9)}", b"", ""
        if draw < 0.65:
            return "groups", f"GET {table}&type=count,max(dateline)&group_by=uid&where=uid:NUMEQ:{uid}", b"", ""
        if draw < 0.75:
            row = b'{"id":%d,"uid":%d,"dateline":%d,"title":"row %d"}' % (number, uid, number, dice.randrange(10**6))
            return "insert", "POST /?command=insert&table=posts", row, "application/json"
        if draw < 0.77:
            rows = b"\n".join(b'{"id":%d,"uid":%d,"dateline":1}' % (dice.randrange(1, ROWS), uid) for _ in range(20))
            return "bulk", "POST /?command=insert&table=posts", rows, "application/x-ndjson"
        if draw < 0.79:
            line = f"POST /?command=update&table=posts&where=id:NUMEQ:{number}"
            return "update", line, b'{"title":"%x"}' % dice.randrange(2**60), "application/json"
        if draw < 0.80:
            return "delete", f"POST /?command=delete&table=posts&where=id:NUMEQ:{number}", b"", "text/plain"
        if draw < 0.90:
            return "published", f"GET /q/few?uid={uid}", b"", ""
        if draw < 0.92:
            return "anonymous", f"GET {table}&where=uid:NUMEQ:{uid}", b"", ""
        odd = dice.choice((*_ODD, f"{table}&where=title:STRRX:r.{number}&limit_max=1"))
        return "odd", f"{dice.choice(('GET', 'GET', 'PUT'))} {odd}", b"", ""

    async def _keys(self) -> None:
        number = 0
        while self._left > 0:
            number += 1
            for arguments in (("make", f"passing{number}", "--scope", "read"), ("revoke", f"passing{number}")):
                command = ("key", *arguments, "--data", str(self._directory / "data"))
                done = await asyncio.to_thread(finished, *command, cwd=self._directory)
                assert done.returncode == 0, done.stderr
            self.kinds["keys"] += 1
            await asyncio.sleep(20)


async def _reply(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """The status, and whether nothing comes behind it."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head[9:12]), b"connection: close" in head


async def watched(soak: Soak, pid: int, seconds: float) -> list[Sample]:
    """What the server holds, sampled while the clients run, for ``seconds`` at most."""
    samples: list[Sample] = []
    began = time.monotonic()
    running = asyncio.create_task(soak.run())
    while not running.done():
        await asyncio.wait({running}, timeout=_SAMPLE_S)
        samples.append(Sample(soak.done, round(time.monotonic() - began, 1), held_mib(pid)))
        if samples[-1].seconds > seconds:
            soak.end()
    await running
    return samples


def held_mib(pid: int) -> float:
    """Memory of the process that is no file's."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


def warm_up(operations: int) -> float:
    """Operations before growth is measured.

    >>> warm_up(8_640_000), warm_up(1_000_000), warm_up(10_000)
    (2160000.0, 400000.0, 5000.0)
    """
    return max(_WARM_UP * operations, min(operations / 2, float(_LEAST_WARM_UP)))


def fill(server: Running) -> None:
    """Bring change log and page cache to their bounds; 10 s."""
    server.sql(f"CREATE TABLE filler (id INT PRIMARY KEY, text VARCHAR({_FILL_TEXT}))")
    for batch in range(_FILL_BATCHES):
        rows = [{"id": each, "text": f"{batch:0{_FILL_TEXT}}"} for each in range(_FILL_ROWS)]
        assert server.post("command=insert&table=filler", rows).status_code == 200


def windows(samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """Operations in the middle of each window after the warm-up, and the least MiB in it."""
    last = samples[-1].operations
    first = warm_up(last)
    least: dict[int, float] = {}
    for sample in samples:
        if sample.operations >= first:
            place = min(_WINDOWS - 1, int((sample.operations - first) / (last - first) * _WINDOWS))
            least[place] = min(sample.mib, least.get(place, sample.mib))
    return [(first + (place + 0.5) * (last - first) / _WINDOWS, mib) for place, mib in sorted(least.items())]


def growth(points: Sequence[tuple[float, float]]) -> Growth:
    """The slope through (operations, MiB). Raises ValueError for fewer than ten points, which tell nothing.

    >>> growth([(number * 100_000.0, 50 + number * 0.2) for number in range(40)])
    Growth(slope=2.0, low=2.0, high=2.0)
    >>> growth([(number * 100_000.0, 50 + number % 2) for number in range(40)])
    Growth(slope=0.019, low=-0.123, high=0.161)
    """
    if len(points) < 10:
        raise ValueError(f"{len(points)} windows with a sample: the run is too short")
    mean_x, mean_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    left = [y - mean_y - slope * (x - mean_x) for x, y in points]
    square = sum(each**2 for each in left)
    likeness = sum(one * other for one, other in pairwise(left)) / square if square > 1e-9 else 0.0
    alone = max(4.0, len(points) * (1 - max(0.0, likeness)) / (1 + max(0.0, likeness)))
    freedom = alone - 2
    student = _NORMAL + (_NORMAL**3 + _NORMAL) / (4 * freedom)
    error = student * (square / freedom / spread) ** 0.5
    return Growth(*(round(each * 1e6, 3) + 0.0 for each in (slope, slope - error, slope + error)))


def soaked(
    directory: Path, operations: int, seconds: float = math.inf, samples_file: Path | None = None
) -> dict[str, Any]:
    """One run of so many operations, ended after ``seconds``; its figures."""
    (directory / "tcsql.toml").write_text(_PUBLISHED)
    with serving(directory / "data", afresh=True) as server:
        server.sql(_DDL)
        for start in range(1, ROWS + 1, 5_000):
            rows = [{"id": each, "uid": each % 100, "dateline": each} for each in range(start, start + 5_000)]
            assert server.post("command=insert&table=posts", rows).status_code == 200
        fill(server)
        made = finished("key", "make", "soak", "--scope", "read", "--scope", "write", "--data", str(directory / "data"),
                        cwd=directory)  # fmt: skip  # one command
        assert made.returncode == 0, made.stderr
        key = next(word for word in made.stdout.split() if word.startswith("tcsql_"))
        time.sleep(2)  # the server looks at its keys once a second
        soak = Soak(server, key, directory, operations)
        process = Path(f"/proc/{server.process.pid}")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            samples = runner.run(watched(soak, server.process.pid, seconds))
        left = len(list((process / "fd").iterdir()))
        ticks = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
        spent = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        assert "bug" not in server.stderr(), server.stderr()[-3_000:]
        assert server.stop() == 0
    if samples_file:
        samples_file.write_text("".join(f"{operations}\t{at}\t{mib:.2f}\n" for operations, at, mib in samples))
    points = windows(samples)
    grown = growth(points)
    return {
        "operations": soak.done,
        "growth_mib_per_million": grown.slope,
        "at_least": grown.low,
        "at_most": grown.high,
        "mib_after_warm_up": round(points[0][1], 1),
        "mib_last": round(points[-1][1], 1),
        "seconds": round(samples[-1].seconds),
        "processor_s": round(spent),
        "file_descriptors_last": left,
        "windows_mib": [round(mib, 2) for _, mib in points],
        "statuses": {str(status): soak.statuses[status] for status in sorted(soak.statuses)},
        "kinds": dict(soak.kinds.most_common()),
    }


def passes(figures: dict[str, Any]) -> bool:
    """Whether the growth is within the goal for certain, and nothing went wrong."""
    return figures["at_most"] <= GOAL_MIB and not any(int(each) in WRONG for each in figures["statuses"])


def main(
    operations: Annotated[int, typer.Option(min=10_000, help="requests in all")] = 8_640_000,
    seconds: Annotated[float, typer.Option(min=10, help="end after these")] = math.inf,
    samples: Annotated[Path | None, typer.Option(help="write operations, seconds and MiB there")] = None,
    publish: Annotated[bool, typer.Option(help="write docs/results/E24.json")] = True,
) -> None:
    """Run, print and publish."""
    with tempfile.TemporaryDirectory(prefix="tcsql-soak-") as name:
        figures = soaked(Path(name), operations, seconds, samples)
    for what, figure in figures.items():
        print(f"{what}: {figure}")
    passed = passes(figures)
    if publish:
        print(f"wrote {write('E24', passed, **figures).name}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    typer.run(main)
