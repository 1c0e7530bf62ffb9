"""A-1: each request sees one state of the data. A-2: a client of one server never goes back in time.

Writers move amounts between accounts, a whole transfer in one request, so the sum of all accounts never changes, and
each counts its own transfers in a row. Readers of every kind look meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random

import pytest

from tests.crash.ledger import Client
from tests.http.conftest import LANES
from tests.http.serving import Running, serving
from tests.results import is_torture, record

ACCOUNTS = 400
WRITERS = 8
READERS = 6
SECONDS = 30.0 if is_torture() else 1.5
TOTAL = ACCOUNTS * 1_000

#: What a reader asks for, each a different way through the program: a page, an aggregate by groups, a page by an index
#: with its total, and a scan that takes several turns.
WAYS = (
    "command=select&table=accounts&limit_max=10000",
    "command=select&table=accounts&type=even,sum(amount)&group_by=even",
    "command=select&table=accounts&where=even:NUMEQ:0&limit_max=10000",
)


async def _prepare(host: str, port: int) -> None:
    client = Client(host, port)
    schema = (
        "CREATE TABLE accounts (id INT PRIMARY KEY, even INT NOT NULL, amount INT NOT NULL, KEY (even));"
        "CREATE TABLE counters (writer INT PRIMARY KEY, n INT NOT NULL)"
    )
    await client.post("command=sql", {"sql": schema})
    rows = [{"id": number, "even": number % 2, "amount": 1_000} for number in range(ACCOUNTS)]
    await client.post("command=insert&table=accounts", rows)
    await client.post("command=insert&table=counters", [{"writer": n, "n": 0} for n in range(WRITERS)])
    client.close()


class Play:
    """Everything that is seen while it lasts."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.until = time.monotonic() + SECONDS
        self.transfers = self.reads = 0
        self.wrong: list[str] = []

    async def transfer(self, writer: int) -> None:
        """Rows of this writer alone, so that what is written depends on nothing but what it wrote before."""
        client, random = Client(self.host, self.port), Random(writer)
        own = [number for number in range(ACCOUNTS) if number % WRITERS == writer]
        amounts = dict.fromkeys(own, 1_000)
        while time.monotonic() < self.until:
            several = random.sample(own, random.choice((2, 2, 2, 20)))
            for one, other in zip(several[::2], several[1::2], strict=True):
                moved = random.randrange(500)
                amounts[one] -= moved
                amounts[other] += moved
            rows = [{"id": number, "even": number % 2, "amount": amounts[number]} for number in several]
            await client.post("command=insert&table=accounts", rows)
            self.transfers += 1
        client.close()

    async def count(self, writer: int) -> None:
        """One number that only grows, and what its own client sees of it after each answer."""
        client, number = Client(self.host, self.port), 0
        while time.monotonic() < self.until:
            number += 1
            answer = await client.post("command=insert&table=counters", {"writer": writer, "n": number})
            page = await client.post(f"command=select&table=counters&where=writer:NUMEQ:{writer}")
            if page["rows"][0]["n"] != number:
                self.wrong.append(f"writer {writer} reads {page['rows'][0]['n']} after it was told {number}: {answer}")
        client.close()

    async def read_sums(self, way: str) -> None:
        client = Client(self.host, self.port)
        while time.monotonic() < self.until:
            page = await client.post(way)
            rows = page["rows"]
            self.reads += 1
            if "even:NUMEQ" in way:
                if len(rows) != ACCOUNTS // 2 or page["total"] != ACCOUNTS // 2:
                    self.wrong.append(f"{len(rows)} rows of {page['total']}")
                continue
            total = sum(row["amount"] if "amount" in row else int(row["sum(amount)"]) for row in rows)
            if total != TOTAL:
                self.wrong.append(f"{way}: the sum is {total}")
        client.close()

    async def read_forward(self) -> None:
        """A client that reads by turns from every way sees counters that never shrink, over several connections."""
        clients, seen = [Client(self.host, self.port) for _ in range(3)], dict.fromkeys(range(WRITERS), 0)
        turn = 0
        while time.monotonic() < self.until:
            turn += 1
            order = ("", "&order_by=n&order_sort=NUMDESC", "&where=n:NUMGE:0")[turn % 3]
            page = await clients[turn % 3].post(f"command=select&table=counters{order}&limit_max=100")
            self.reads += 1
            for row in page["rows"]:
                if row["n"] < seen[row["writer"]]:
                    self.wrong.append(f"counter {row['writer']} went back from {seen[row['writer']]} to {row['n']}")
                seen[row["writer"]] = row["n"]
        for client in clients:
            client.close()

    async def run(self) -> None:
        await _prepare(self.host, self.port)
        self.until = time.monotonic() + SECONDS
        await asyncio.gather(
            *(self.transfer(writer) for writer in range(WRITERS)),
            *(self.count(writer) for writer in range(WRITERS)),
            *(self.read_sums(WAYS[number % len(WAYS)]) for number in range(READERS)),
            *(self.read_forward() for _ in range(3)),
        )


@pytest.mark.parametrize("lane", LANES)
def test_each_request_sees_one_state_and_no_client_goes_back_in_time(tmp_path: Path, lane: str) -> None:
    with serving(tmp_path / "data", *LANES[lane]) as server:
        play = Play(*server.address)
        asyncio.run(play.run())
        told = _reached(server)
        assert server.stop() == 0
    for identity in ("A-1", "A-2"):
        record(
            f"{identity}-{lane}",
            not play.wrong,
            seconds=SECONDS,
            transfers=play.transfers,
            reads=play.reads,
            wrong=len(play.wrong),
            lsn=told,
        )
    assert not play.wrong, play.wrong[:5]
    assert play.transfers > 100 and play.reads > 100


def _reached(server: Running) -> int:
    return int(server.client.get(server.url + "/status").json()["durable_lsn"])
