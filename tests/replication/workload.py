"""Thirty writers that do to MySQL all that applications do, at random from a seed, for a bounded time.

    python -m tests.replication.workload --socket S --database D --seconds 60 --seed 7

Two things hold in every committed state, so that whoever sees anything else has not seen a committed state:

    the balances of ``accounts`` sum up to TOTAL (rows are made, removed, renumbered and swapped all the time)
    the holders of ``slots`` are 0 to SLOTS - 1, each once, whichever keys they have

Every action is one transaction: transfers in any order (hence deadlocks), what is rolled back whole or to a savepoint,
what commits late, REPLACE, ON DUPLICATE KEY, LOAD DATA, bulk inserts and deletes, keys that change, swap, or change
only their case. A writer that loses its connection connects again: servers may be killed meanwhile. Errors that belong
to the game are counted, others end the process with code 1. Needs autocommit off and no rights beyond the tables'.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, Self

import pymysql

from tests.replication.workload_tables import ACCOUNT_KEYS, MOST_EVENTS, SLOTS, VALUES

WRITERS: Final = 30
#: Errors of the game. 1467: a deadlock over the lock of AUTO_INCREMENT, as MariaDB tells it. 1412: a table was altered
#: after the snapshot was taken.
_GAME: Final = {1213: "deadlock", 1205: "lock timeout", 1467: "deadlock", 1062: "duplicate", 1412: "altered"}
#: The server is not there, or leaves.
_GONE: Final = frozenset({0, 1053, 1927, 2002, 2003, 2006, 2013, 3169, 4031})
_ZONES: Final = ("+00:00", "-05:00", "+12:45")


class Writer:
    """One writer with a connection and dice of its own."""

    def __init__(self, number: int, seed: int, connect: Callable[[], Any], files: Path) -> None:
        self.number = number
        self.random = Random(seed * 1000 + number)
        self.done: Counter[str] = Counter()
        self._connect = connect
        self._file = files / f"{number}.tsv"
        self._cursor: Any = None
        self._actions: tuple[tuple[Callable[[], None], int], ...] = (
            (self.transfer, 30),
            (self.transfer_by_duplicate_key, 8),
            (self.transfer_by_replace, 8),
            (self.renumber_account, 5),
            (self.swap_accounts, 5),
            (self.close_account, 4),
            (self.swap_slots, 10),
            (self.name_one, 14),
            (self.respell_name, 6),
            (self.write_wide, 14),
            (self.insert_events, 4),
            (self.load_events, 2),
            (self.change_events, 6),
            (self.delete_events, 3),
            (self.fail_in_the_middle, 4),
            (self.hammer_one_row, 2),
        )

    def work(self, until: float, stop: threading.Event) -> None:
        """One transaction after the other."""
        actions = [action for action, _ in self._actions]
        weights = [weight for _, weight in self._actions]
        while time.monotonic() < until and not stop.is_set():
            action = self.random.choices(actions, weights)[0]
            try:
                if self._cursor is None:
                    self._open()
                action()
                self._finish()
                self.done[action.__name__] += 1
            except (pymysql.err.OperationalError, pymysql.err.InterfaceError, pymysql.err.IntegrityError) as error:
                self._settle(error)
            except (OSError, pymysql.err.InternalError) as error:  # PyMySQL reports a cut inside a packet so, too
                self._settle(error, gone=True)
        self._close()

    def _open(self) -> None:
        connection = self._connect()
        self._cursor = connection.cursor()
        self._cursor.execute(f"SET time_zone = '{self.random.choice(_ZONES)}', sql_mode = ''")
        self._cursor.execute("SET innodb_lock_wait_timeout = 2")

    def _close(self) -> None:
        if self._cursor is not None:
            with suppress(pymysql.err.Error, OSError):
                self._cursor.connection.close()
            self._cursor = None

    def _settle(self, error: Exception, gone: bool = False) -> None:
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if gone or code in _GONE:
            self.done["connection lost"] += 1
            self._close()
            time.sleep(0.05)
            return
        if code not in _GAME:
            raise error
        self.done[_GAME[code]] += 1
        try:
            self._cursor.connection.rollback()
        except (pymysql.err.Error, OSError):
            self._close()

    def _finish(self) -> None:
        """Most commit at once, some late, some never."""
        dice = self.random.random()
        if dice < 0.04:
            time.sleep(self.random.uniform(0.02, 0.4))
        if dice > 0.9:
            self._cursor.connection.rollback()
            self.done["rolled back"] += 1
        else:
            self._cursor.connection.commit()

    def _run(self, statement: str, *values: Any) -> int:
        return int(self._cursor.execute(statement, values))

    def _account(self) -> int:
        """The key of an account that exists, or did a moment ago."""
        self._run("SELECT id FROM accounts WHERE id >= %s ORDER BY id LIMIT 1", self.random.randint(1, ACCOUNT_KEYS))
        found = self._cursor.fetchone()
        if found is None:
            self._run("SELECT min(id) FROM accounts WHERE id > 0")
            found = self._cursor.fetchone()
        return int(found[0])

    def _two_accounts(self) -> tuple[int, int]:
        one, other = self._account(), self._account()
        while other == one:
            other = self._account()
        return one, other

    def _locked(self, *keys: int) -> dict[int, int]:
        self._run(f"SELECT id, balance FROM accounts WHERE id IN ({','.join(map(str, keys))}) FOR UPDATE")
        return {int(key): int(balance) for key, balance in self._cursor.fetchall()}

    def transfer(self) -> None:
        for part in range(self.random.randint(1, 4)):
            one, other = self._two_accounts()
            if len(self._locked(one, other)) < 2:
                continue
            if part and self.random.random() < 0.3:
                self._run("SAVEPOINT here")
                self._run("UPDATE accounts SET balance = balance + 1000000, note = 'phantom' WHERE id = %s", one)
                self._run("INSERT INTO events (kind, value) VALUES ('phantom', %s)", one)
                self._run("ROLLBACK TO SAVEPOINT here")
            amount = self.random.randint(1, 50)
            self._run("UPDATE accounts SET balance = balance - %s WHERE id = %s", amount, one)
            if self.random.random() < 0.05:
                time.sleep(0.01)
            note = f"from {one}"
            self._run("UPDATE accounts SET balance = balance + %s, note = %s WHERE id = %s", amount, note, other)

    def transfer_by_duplicate_key(self) -> None:
        one, other = self.random.sample(range(1, ACCOUNT_KEYS), 2)
        amount = self.random.randint(1, 50)
        self._run(
            "INSERT INTO accounts VALUES (%s,%s,'new'),(%s,%s,NULL) "
            "ON DUPLICATE KEY UPDATE balance = balance + VALUES(balance)",
            *(one, -amount, other, amount),
        )

    def transfer_by_replace(self) -> None:
        one, other = self._two_accounts()
        found = self._locked(one, other)
        if len(found) == 2:
            values = (one, found[one] - 7, other, found[other] + 7)
            self._run("REPLACE INTO accounts VALUES (%s,%s,'replaced'),(%s,%s,'replaced')", *values)

    def renumber_account(self) -> None:
        self._run("UPDATE accounts SET id = %s WHERE id = %s", self.random.randint(1, ACCOUNT_KEYS), self._account())

    def _swap(self, table: str, one: int, other: int) -> None:
        aside = -1 - self.number
        for old, new in ((one, aside), (other, one), (aside, other)):
            self._run(f"UPDATE {table} SET id = %s WHERE id = %s", new, old)

    def swap_accounts(self) -> None:
        one, other = self._two_accounts()
        if len(self._locked(one, other)) == 2:
            self._swap("accounts", one, other)

    def swap_slots(self) -> None:
        one, other, third = self.random.sample(range(SLOTS), 3)
        self._run(f"SELECT id FROM slots WHERE id IN ({one},{other},{third}) FOR UPDATE")
        if len(self._cursor.fetchall()) == 3:
            self._swap("slots", one, other)
            if self.random.random() < 0.5:
                self._swap("slots", other, third)

    def close_account(self) -> None:
        one, other = self._two_accounts()
        found = self._locked(one, other)
        if len(found) == 2:
            self._run("DELETE FROM accounts WHERE id = %s", one)
            self._run("UPDATE accounts SET balance = balance + %s WHERE id = %s", found[one], other)
            if self.random.random() < 0.3:  # and opened again under the same key
                self._run("INSERT INTO accounts VALUES (%s,0,'again')", one)

    def _name(self) -> tuple[str, str]:
        name = f"{self.random.choice(('anna', 'émile', 'zoë', 'straße'))} {self.random.randrange(25)}"
        return self.random.choice((name, name.upper(), name.title(), name + " ")), self.random.choice("abAB")

    def name_one(self) -> None:
        name, part = self._name()
        dice = self.random.random()
        values = (name, part, self.random.randrange(1000), f"title of {name}")
        if dice < 0.4:
            self._run("INSERT INTO names VALUES (%s,%s,%s,%s) ON DUPLICATE KEY UPDATE n = n + 1", *values)
        elif dice < 0.6:
            self._run("REPLACE INTO names VALUES (%s,%s,%s,%s)", *values)
        elif dice < 0.75:
            self._run("INSERT IGNORE INTO names VALUES (%s,%s,%s,%s)", *values)
        elif dice < 0.9:
            self._run("UPDATE names SET n = n + 1 WHERE name = %s", name)
        else:
            self._run("DELETE FROM names WHERE name = %s AND part = %s", name, part)

    def respell_name(self) -> None:
        """A key that MySQL holds equal to what it was, and one that it does not."""
        name, part = self._name()
        new = self.random.choice((name.upper(), name.lower(), name.rstrip(), name + " ", self._name()[0]))
        self._run("UPDATE names SET name = %s WHERE name = %s AND part = %s", new, name, part)

    def write_wide(self) -> None:
        key = self.random.choice((*range(120), 2**64 - 1, 2**63, 2**53 + 1))
        chosen = {name: self.random.choice(values) for name, values in VALUES.items()}
        if self.random.random() < 0.15:
            self._run("DELETE FROM wide WHERE id = %s", key)
        elif self.random.random() < 0.3:
            some = self.random.sample(sorted(chosen), 3)
            parts = ",".join(f"{name} = %s" for name in some)
            self._run(f"UPDATE wide SET {parts} WHERE id = %s", *(chosen[name] for name in some), key)
        else:
            marks = ",".join(["%s"] * len(chosen))
            self._run(f"REPLACE INTO wide (id,{','.join(chosen)}) VALUES (%s,{marks})", key, *chosen.values())

    def _events(self) -> list[tuple[str, str, int]]:
        number = self.random.choice((3, 40, 150))
        at = f"2026-11-20 12:00:{self.number:02}.{self.random.randrange(1000):03}"
        return [(f"k{each % 7}", at, self.random.randrange(10_000)) for each in range(number)]

    def _has_room(self) -> bool:
        self._run("SELECT count(*) FROM events")
        return int(self._cursor.fetchone()[0]) < MOST_EVENTS

    def insert_events(self) -> None:
        if not self._has_room():
            return
        if self.random.random() < 0.2:
            self._run("INSERT INTO events (kind,at,value) SELECT kind, at, value + 1 FROM events ORDER BY id LIMIT 80")
            return
        values = ",".join(["(%s,%s,%s)"] * len(rows := self._events()))
        self._run(f"INSERT INTO events (kind,at,value) VALUES {values}", *(each for row in rows for each in row))

    def load_events(self) -> None:
        if not self._has_room():
            return
        self._file.write_text("".join(f"{kind}\t{at}\t{value}\n" for kind, at, value in self._events()))
        self._run(f"LOAD DATA LOCAL INFILE '{self._file}' INTO TABLE events (kind,at,value)")

    def change_events(self) -> None:
        low = self.random.randrange(10_000)
        if self.random.random() < 0.2:
            self._run("UPDATE events SET id = id - 999000 WHERE id >= 1000000 ORDER BY id LIMIT 5")
        self._run("UPDATE events SET value = value + 1 WHERE value BETWEEN %s AND %s", low, low + 60)

    def delete_events(self) -> None:
        self._run("DELETE FROM events ORDER BY id LIMIT %s", self.random.choice((1, 30, 120)))

    def fail_in_the_middle(self) -> None:
        """The third row of a statement fails; the transaction goes on and commits the rest."""
        self._run("INSERT INTO events (kind, value) VALUES ('kept', %s)", self.number)
        taken = self._account()
        if not self._locked(taken):
            return
        try:
            self._run("INSERT INTO accounts VALUES (900000,5,'x'),(900001,5,'x'),(%s,5,'x')", taken)
        except pymysql.err.IntegrityError as error:
            if error.args[0] != 1062:
                raise
        else:  # the row was there and is locked
            raise AssertionError(f"account {taken} was not there")

    def hammer_one_row(self) -> None:
        key = self._account()
        for _ in range(50):
            self._run("UPDATE accounts SET balance = balance + 1 WHERE id = %s", key)
            self._run("UPDATE accounts SET balance = balance - 1 WHERE id = %s", key)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--writers", type=int, default=WRITERS)
    chosen = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print("begun", flush=True)
    failures: list[BaseException] = []

    def connect() -> Any:
        return pymysql.connect(
            unix_socket=chosen.socket, user="root", database=chosen.database, charset="utf8mb4", local_infile=True
        )

    def work(writer: Writer) -> None:
        try:
            writer.work(until, stop)
        except BaseException as error:  # noqa: BLE001  # one writer's failure is told and ends all
            failures.append(error)
            stop.set()

    with tempfile.TemporaryDirectory() as files:
        writers = [Writer(number, chosen.seed, connect, Path(files)) for number in range(chosen.writers)]
        until = time.monotonic() + chosen.seconds
        threads = [threading.Thread(target=work, args=[writer]) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    total: Counter[str] = sum((writer.done for writer in writers), Counter())
    print(json.dumps(total))
    for failure in failures:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
    return 1 if failures else 0


class Workload:
    """The writers in a process of their own; when the block ends they have ended. ``done``: what they did."""

    def __init__(self, socket: str, database: str, seconds: float, seed: int, writers: int = WRITERS) -> None:
        self._options = {"socket": socket, "database": database, "seconds": seconds, "seed": seed, "writers": writers}
        self.done: dict[str, int] = {}

    def __enter__(self) -> Self:
        options = [f"--{name}={value}" for name, value in self._options.items()]
        here = str(Path(__file__).parents[2])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.replication.workload", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": here},
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # that it has begun: before that, the signal to stop would kill it
        return self

    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Writers end after their transaction."""
        self._process.terminate()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.terminate()
        output, errors = self._process.communicate(timeout=float(self._options["seconds"]) + 60)
        if kind is None:
            assert self._process.returncode == 0, errors
            self.done = json.loads(output)


if __name__ == "__main__":
    sys.exit(main())
