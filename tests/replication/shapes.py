"""Rows whose values say which column they were written to, and a reader that sees one in another column at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
import pymysql

from tests.replication.binlogging import run
from tests.replication.following import Node

Connection = pymysql.connections.Connection
PLAIN: Final = "(id INT PRIMARY KEY, one VARCHAR(40) NOT NULL, two VARCHAR(40) NOT NULL, n INT NOT NULL) ENGINE=InnoDB"


def row(number: int) -> str:
    return f"({number},'one {number}','two {number}',{number % 7})"


def insert(table: str, first: int, last: int) -> str:
    return f"INSERT INTO {table} VALUES {','.join(row(each) for each in range(first, last))}"


def others_follow(node: Node, writer: Connection, *tables: str) -> None:
    """Trouble with one table is that table's."""
    run(writer, "UPDATE bystander SET n = n + 1 WHERE id = 1")
    node.assert_equal([name for name in node.tables if name not in tables])


class Reader:
    """Reads a table again and again while the block runs.

    In every reply each value must be of one and the same column in all rows, whatever the column is called by then.
    """

    def __init__(self, node: Node, table: str) -> None:
        self._node = node
        self._table = table
        self.forms: list[tuple[str, ...]] = []
        self.stale = self.replies = 0
        self.wrong: list[str] = []

    def look(self, client: httpx.Client) -> None:
        answer = client.get(f"{self._node.live.url}/?command=select&table={self._table}&limit_max=10000")
        if answer.status_code != 200:
            self.wrong.append(answer.text)
            return
        self.replies += 1
        self.stale += "tcsql-stale" in answer.headers
        rows = answer.json()["rows"]
        if rows and tuple(rows[0]) not in self.forms:
            self.forms.append(tuple(rows[0]))
        for column in rows[0] if rows else ():
            words = {str(each[column]).split()[0] for each in rows if isinstance(each[column], str)}
            if len(words) > 1:
                self.wrong.append(f"{column} has values of {words}")


@contextmanager
def reading_all_the_time(node: Node, table: str) -> Iterator[Reader]:
    reader, ends = Reader(node, table), threading.Event()
    failed: list[BaseException] = []

    def read() -> None:
        try:
            with httpx.Client(timeout=20) as client:
                while not ends.is_set():
                    reader.look(client)
        except BaseException as error:  # noqa: BLE001  # told by the block's end
            failed.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield reader
    finally:
        ends.set()
        thread.join()
    assert failed == []
    assert reader.wrong == []
    assert reader.replies > 0
