"""Writers that note what they sent and what was acknowledged, and the judgement after a crash.

Each of the 64 writers owns some rows and has at most one request under way, which changes one of its rows or
several at once. So after a crash its rows must be exactly what the acknowledged requests made of them, or that
with the whole of the last request on top. Anything else is a lost write, a phantom, or half a batch.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

WRITERS = 64
SLOTS = 8
Rows = dict[int, dict[str, Any]]


class Cut(Exception):
    """The connection ended without an answer: the outcome is unknown."""


@dataclass(slots=True)
class Client:
    """Just enough of HTTP/1.1 for one connection at a time."""

    host: str
    port: int
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def post(self, query: str, body: object = None) -> dict[str, Any]:
        """The JSON of a 200; raises Cut."""
        content = b"" if body is None else orjson.dumps(body)
        head = f"POST /?{query} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n"
        head += "content-type: application/json\r\n" if content else ""
        try:
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=1 << 24)
            assert self.reader is not None
            self.writer.write(f"{head}\r\n".encode() + content)
            answer = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.split(b"content-length:")[1].split(b"\r\n")[0])
            text = await self.reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Cut from error
        assert answer.startswith(b"http/1.1 200"), text
        return dict(orjson.loads(text))

    def close(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None


@dataclass(slots=True)
class Writer:
    """One writer: its rows as acknowledged, and as they are if the request under way was done."""

    number: int
    random: Random
    known: Rows = field(default_factory=dict)
    perhaps: Rows = field(default_factory=dict)
    stamp: int = 0
    acknowledged: int = 0
    highest_lsn: int = 0

    async def work(self, client: Client) -> None:
        """Write until the connection is cut."""
        try:
            while True:
                query, body = self._next()
                answer = await client.post(query, body)
                self.known = self.perhaps
                self.acknowledged += 1
                self.highest_lsn = max(self.highest_lsn, answer["lsn"])
        except Cut:
            return

    def _next(self) -> tuple[str, object]:
        """A request, and in ``perhaps`` what it would make of the rows."""
        self.stamp += 1
        action = self.random.random()
        if action < 0.5:
            rows = [self._row(self.random.randrange(SLOTS))]
        elif action < 0.75:
            rows = [self._row(slot) for slot in self.random.sample(range(SLOTS), self.random.randint(2, SLOTS))]
        elif action < 0.9:
            self.perhaps = {key: row | {"stamp": self.stamp} for key, row in self.known.items()}
            return f"command=update&table=ledger&where=writer:NUMEQ:{self.number}", {"stamp": self.stamp}
        else:
            key = self.number * SLOTS + self.random.randrange(SLOTS)
            self.perhaps = {kept: row for kept, row in self.known.items() if kept < key}
            where = f"writer:NUMEQ:{self.number}|id:NUMGE:{key}"
            return f"command=delete&table=ledger&where={where}", None
        self.perhaps = self.known | {row["id"]: row for row in rows}
        return "command=insert&table=ledger", rows

    def _row(self, slot: int) -> dict[str, Any]:
        text = "x" * self.random.randint(0, 200)
        return {"id": self.number * SLOTS + slot, "writer": self.number, "stamp": self.stamp, "text": text}

    def judge(self, found: Rows) -> str | None:
        """What is wrong with the rows after a crash; None: all is well, and they are what is known from now on."""
        if found not in (self.known, self.perhaps):
            return f"writer {self.number}: {found} is neither {self.known} nor {self.perhaps}"
        self.known = self.perhaps = found
        return None


SCHEMA = """
    CREATE TABLE ledger (id INT PRIMARY KEY, writer INT NOT NULL, stamp INT NOT NULL, text VARCHAR(200), KEY (writer));
    CREATE TABLE ballast (id INT PRIMARY KEY, a INT, b INT, text VARCHAR(100), KEY (a, b), KEY (text));
"""


class Ledger:
    """All writers, against one server after the other."""

    def __init__(self, seed: int) -> None:
        self.writers = [Writer(number, Random(seed * WRITERS + number)) for number in range(WRITERS)]
        self.highest_lsn = 0

    @property
    def acknowledged(self) -> int:
        return sum(writer.acknowledged for writer in self.writers)

    async def work(self, host: str, port: int) -> None:
        """Let all writers write until the server is gone."""
        clients = [Client(host, port) for _ in self.writers]
        await asyncio.gather(*(writer.work(client) for writer, client in zip(self.writers, clients, strict=True)))
        for client in clients:
            client.close()

    async def judge(self, host: str, port: int) -> list[str]:
        """Everything that is wrong after a crash."""
        client = Client(host, port)
        page = await client.post("command=select&table=ledger&limit_max=10000")
        found: dict[int, Rows] = {}
        for row in page["rows"]:
            found.setdefault(row["writer"], {})[row["id"]] = row
        wrong = [writer.judge(found.pop(writer.number, {})) for writer in self.writers]
        wrong += [f"rows of a writer {number} that does not exist" for number in found]
        # An lsn that was given out before the crash is not given out again.
        one = await client.post("command=insert&table=ballast", {"id": 0, "a": 0, "b": 0, "text": ""})
        highest = max(self.highest_lsn, *(writer.highest_lsn for writer in self.writers))
        if one["lsn"] <= highest:
            wrong.append(f"lsn {one['lsn']} was given out again")
        self.highest_lsn = one["lsn"]
        client.close()
        return [what for what in wrong if what is not None]
