"""The five stacks, each loaded with the same rows, started, pinned to the servers' core and stopped until measured.

    constant   nginx returning constants as large as TCSQL's own replies: the limit
    redis      nginx + Lua + Redis with sorted sets: what a skilled team builds by hand
    mariadb    Starlette on uvicorn + MariaDB through a pool: what most teams have
    slow       TCSQL without its fast lane
    fast       TCSQL as it comes

Everything lives in one temporary directory and is ended with the block. Loading uses both cores.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks.processes import environment, python
from benchmarks.shape import DDL, TABLE, posts, to_json, write_dump, write_ndjson
from loadtest import asked, starlette_mariadb
from loadtest.cores import SERVER
from loadtest.limits import BACKLOG, SPARE_FILES
from loadtest.stacks import Stack, child, free_port, wait_until_open
from tests.mariadb import MariaDB, program

TITLES: Final[Mapping[str, str]] = {
    "constant": "nginx, a constant",
    "redis": "nginx + Lua + Redis",
    "mariadb": "Starlette + MariaDB",
    "slow": "TCSQL, slow lane",
    "fast": "TCSQL",
}
_CONFIGS: Final = Path(__file__).parent / "configs"
#: Connections of the application to MariaDB: more than a few gain nothing on one core (8, 16, 32 and 64 were tried).
_POOL: Final = 16
#: Connections beyond those of the load that a server must take: probes, pools, and those that still close.
MARGIN: Final = 256
_SAMPLES: Final = 101
_READY_S: Final = 180


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start. ``connections``: the most at once."""

    rows: int
    stacks: tuple[str, ...]
    connections: int
    directory: Path
    say: Callable[[str], None]


@contextmanager
def fleet(plan: Plan) -> Iterator[dict[str, Stack]]:
    """All stacks by name, loaded, pinned, stopped."""
    builders = {"slow": _slow, "fast": _fast, "redis": _redis, "mariadb": _mariadb}
    with ExitStack() as cleanup:
        started: dict[str, Stack] = {}
        _write_store(plan)
        for name, build in builders.items():
            if name in plan.stacks:
                plan.say(f"starting {TITLES[name]}")
                started[name] = cleanup.enter_context(build(plan))
        cleanup.callback(_resume, started)  # before the servers are asked to end
        ours = started.get("fast") or started["slow"]
        started["constant"] = cleanup.enter_context(_constant(plan, typical_bodies(ours)))
        for stack in started.values():
            stack.pin(SERVER)
            stack.facts["loaded_bytes"] = stack.resident_bytes()
            stack.stop()
        yield {name: started[name] for name in TITLES if name in started}


def _resume(stacks: Mapping[str, Stack]) -> None:
    for stack in stacks.values():
        with suppress(psutil.NoSuchProcess):  # one that has ended needs no more
            stack.resume()


def typical_bodies(stack: Stack) -> dict[str, bytes]:
    """One reply of median length for each query."""
    draw = random.Random(1)
    found = {}
    for query, template in stack.asks.items():
        bodies = [stack.send(template.filled(template.draw(draw)))[1] for _ in range(_SAMPLES)]
        found[query] = sorted(bodies, key=len)[_SAMPLES // 2]
    return found


# TCSQL


def _write_store(plan: Plan) -> None:
    """A store with all rows in ``store``, and the rows as NDJSON."""
    ndjson, schema = plan.directory / f"{TABLE}.ndjson", plan.directory / "schema.sql"
    plan.say(f"writing {plan.rows:,} rows and loading them into a store")
    write_ndjson(ndjson, plan.rows)
    schema.write_text(DDL + ";\n", encoding="utf-8")
    data = plan.directory / "store"
    python("tcsql", "load", ndjson, "--data", data, "--schema", schema, directory=plan.directory)


def _fast(plan: Plan) -> AbstractContextManager[Stack]:
    return _tcsql(plan, "fast")


def _slow(plan: Plan) -> AbstractContextManager[Stack]:
    return _tcsql(plan, "slow", "--fast-lane", "false")


@contextmanager
def _tcsql(plan: Plan, name: str, *options: str) -> Iterator[Stack]:
    data, port = plan.directory / name, free_port()
    shutil.copytree(plan.directory / "store", data)
    command = [sys.executable, "-m", "tcsql", "serve", "--data", str(data), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backlog", str(BACKLOG), "--max-connections", str(plan.connections + MARGIN), *options]
    started = time.perf_counter()
    with child(command, plan.directory, f"{name}.log") as process:
        wait_until_open(port, process)
        _wait_until_ready(port)
        facts: dict[str, object] = {"ready_s": round(time.perf_counter() - started, 2)}
        roots = (psutil.Process(process.pid),)
        yield Stack(name, TITLES[name], port, roots, asked.of_tcsql(plan.rows), facts)


def _wait_until_ready(port: int) -> None:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=60) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)  # 503 while it recovers
    raise RuntimeError("TCSQL did not become ready")


# nginx with constants


@contextmanager
def _constant(plan: Plan, bodies: Mapping[str, bytes]) -> Iterator[Stack]:
    locations = [f"        location = /{query} {{ return 200 {_quoted(body)}; }}" for query, body in bodies.items()]
    with _nginx(plan, "constant", LOCATIONS="\n".join(locations)) as (port, root):
        facts: dict[str, object] = {"body_bytes": {query: len(body) for query, body in bodies.items()}}
        yield Stack("constant", TITLES["constant"], port, (root,), asked.of_constant(plan.rows), facts)


def _quoted(body: bytes) -> str:
    """A constant for ``return``, in which $ would be a variable."""
    text = body.decode()
    assert "$" not in text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@contextmanager
def _nginx(plan: Plan, name: str, **values: str) -> Iterator[tuple[int, psutil.Process]]:
    port = free_port()
    config = plan.directory / f"{name}.conf"
    config.write_text(_filled(f"{name}.conf", plan, PORT=str(port), **values), encoding="utf-8")
    command = [program("nginx"), "-p", str(plan.directory), "-e", "stderr", "-c", str(config)]
    with child(command, plan.directory, f"{name}.log") as process:
        wait_until_open(port, process)
        yield port, psutil.Process(process.pid)


def _filled(name: str, plan: Plan, **values: str) -> str:
    """A configuration with its @NAMES@ replaced."""
    user = "user root;" if os.geteuid() == 0 else ""  # else the workers could not open what lies in our directory
    common = {
        "FILES": str(plan.connections + SPARE_FILES),
        "CONNECTIONS": str(2 * plan.connections + MARGIN),  # near its limit nginx closes idle connections to make room
        "BACKLOG": str(BACKLOG),
        "DIRECTORY": str(plan.directory),
        "CONFIGS": str(_CONFIGS),
        "USER": user,
    }
    text = (_CONFIGS / name).read_text(encoding="utf-8")
    for key, value in {**common, **values}.items():
        text = text.replace(f"@{key}@", value)
    return text


# nginx + Lua + Redis


@contextmanager
def _redis(plan: Plan) -> Iterator[Stack]:
    config, path = plan.directory / "redis.conf", plan.directory / "redis.sock"
    config.write_text(_filled("redis.conf", plan), encoding="utf-8")
    with child([program("redis-server"), str(config)], plan.directory, "redis.log") as server:
        while not path.exists():
            assert server.poll() is None, (plan.directory / "redis.log").read_text(encoding="utf-8")
            time.sleep(0.02)
        started = time.perf_counter()
        _fill_redis(path, plan.rows)
        facts: dict[str, object] = {"load_s": round(time.perf_counter() - started, 2)}
        with _nginx(plan, "lists") as (port, root):
            roots = (root, psutil.Process(server.pid))
            yield Stack("redis", TITLES["redis"], port, roots, asked.of_peer(plan.rows), facts)


def _fill_redis(path: Path, rows: int) -> None:
    command = [program("redis-cli"), "-s", str(path), "--pipe"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin is not None
        client.stdin.writelines(redis_commands(rows))
        output = client.communicate()[0].decode()
    assert "errors: 0" in output, output


_BATCH: Final = 1_000


def redis_commands(rows: int) -> Iterator[bytes]:
    """The rows as Redis' protocol: a string each, a sorted set per user and one per type."""
    strings: list[bytes] = []
    users: dict[int, list[bytes]] = {}
    kinds: dict[bytes, list[bytes]] = {}
    for post in posts(rows):
        strings += [b"p:%d" % post.id, to_json(post)]
        users.setdefault(post.uid, []).extend((b"%d" % post.id, b"%d" % post.id))
        kinds.setdefault(post.idtype.encode(), []).extend((b"%d" % post.dateline, b"%010d" % post.id))
        if len(strings) == 2 * _BATCH:
            yield _command(b"MSET", *strings)
            strings.clear()
    if strings:
        yield _command(b"MSET", *strings)
    for uid, members in users.items():
        yield _command(b"ZADD", b"u:%d" % uid, *members)
    for kind, members in kinds.items():
        for start in range(0, len(members), 2 * _BATCH):
            yield _command(b"ZADD", b"k:" + kind, *members[start : start + 2 * _BATCH])


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


# Starlette + MariaDB

#: Beside the seed's own indexes, so that a list by type in the order of keys is one run of an index.
_MORE_INDEXES: Final = f"ALTER TABLE {TABLE} ADD KEY idtype_id (idtype, id)"


def _mariadb_options(rows: int) -> Sequence[str]:
    """Everything in memory, every commit on disk."""
    pool = max(64, rows // 1_000)  # MB; a row takes 750 bytes with its indexes
    return (
        f"--innodb-buffer-pool-size={pool}M",
        "--innodb-log-file-size=512M",
        "--innodb-flush-log-at-trx-commit=1",
        "--max-connections=200",
    )


@contextmanager
def _mariadb(plan: Plan) -> Iterator[Stack]:
    dump = plan.directory / "dump.sql"
    write_dump(dump, plan.rows)
    database = starlette_mariadb.DATABASE
    with MariaDB(*_mariadb_options(plan.rows)) as server:
        started = time.perf_counter()
        with server.connect() as connection:
            connection.cursor().execute(f"CREATE DATABASE {database}")
        server.load(database, b"SET unique_checks=0;\n" + dump.read_bytes())
        with server.connect(database) as connection:
            connection.cursor().execute(_MORE_INDEXES)
            connection.cursor().execute(f"ANALYZE TABLE {TABLE}")
        facts: dict[str, object] = {"load_s": round(time.perf_counter() - started, 2)}
        port = free_port()
        command = [sys.executable, "-m", "loadtest.starlette_mariadb", server.socket, str(port)]
        with child([*command, str(BACKLOG), str(_POOL)], plan.directory, "mariadb.log") as process:
            wait_until_open(port, process)
            assert server.process is not None
            roots = (psutil.Process(process.pid), psutil.Process(server.process.pid))
            yield Stack("mariadb", TITLES["mariadb"], port, roots, asked.of_peer(plan.rows), facts)


def versions() -> dict[str, str]:
    """What the peers are, as they say it themselves."""
    asks = {
        "nginx": ("nginx", "-v"),
        "redis": ("redis-server", "--version"),
        "mariadb": ("mariadbd", "--version"),
        "wrk": ("wrk", "-v"),
    }
    found = {}
    for name, (command, flag) in asks.items():
        done = subprocess.run([program(command), flag], capture_output=True, text=True, check=False, env=environment())
        found[name] = (done.stdout + done.stderr).strip().splitlines()[0]
    return {**found, "asyncmy": version("asyncmy")}


def same_answers(stacks: Mapping[str, Stack], samples: int) -> int:
    """Ask every stack the same random questions; raises AssertionError at the first difference. Returns how many.

    TCSQL gives total and cursors beside the rows, which the others do not: rows and counts are what is compared.
    """
    draw = random.Random(7)
    ours = stacks.get("fast") or stacks["slow"]
    compared = 0
    for query, template in ours.asks.items():
        for _ in range(samples):
            values = template.draw(draw)
            wanted = _essence(ours, query, values)
            for stack in stacks.values():
                if stack.name == "constant" or stack is ours:
                    continue
                got = _essence(stack, query, values)
                assert got == wanted, f"{stack.title} differs at {query} {values}: {got} instead of {wanted}"
                compared += 1
    return compared


def _essence(stack: Stack, query: str, values: Sequence[int | str]) -> object:
    status, body = stack.send(stack.asks[query].filled(values))
    assert status == 200, f"{stack.title} answered {status} to {query} {values}: {body[:500]!r}"
    found = json.loads(body)
    return found["count"] if query == "q4" else found["rows"]
