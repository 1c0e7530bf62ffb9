"""``tcsql load`` into an empty table: NDJSON and a file of mysqldump, from the start of the command to its exit.

Into a closed store, which is how a first load is done, and the same NDJSON into a running server. The reference
reads the NDJSON by orjson into a durable SQLite file with the same three indexes.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.measure import Figure, Goal, Run
from benchmarks.processes import python, tcsql_server
from benchmarks.references import stored_rows
from benchmarks.shape import DDL, TABLE, write_dump, write_ndjson

GROUP: Final = "load"


def measure(run: Run) -> list[Figure]:
    """All figures of the group."""
    reference = "sqlite3 from the NDJSON, same indexes"
    lines = Figure(GROUP, "tcsql load, NDJSON", "rows/s", goal=Goal("at least", 200_000), reference=reference)
    dump = Figure(GROUP, "tcsql load, mysqldump file", "rows/s", goal=Goal("at least", 100_000), reference=reference)
    running = Figure(GROUP, "tcsql load, NDJSON, into a running server", "rows/s", reference=reference)
    with tempfile.TemporaryDirectory(dir=run.directory) as name:
        directory = Path(name)
        run.say(f"writing {run.rows:,} rows of NDJSON and as a dump")
        ndjson, sql, schema = directory / f"{TABLE}.ndjson", directory / "dump.sql", directory / "schema.sql"
        write_ndjson(ndjson, run.rows)
        write_dump(sql, run.rows)
        schema.write_text(DDL + ";\n", encoding="utf-8")
        for number in range(run.rounds):
            run.say(f"round {number + 1} of {run.rounds}")
            place = directory / f"round-{number}"
            place.mkdir()
            load = python("benchmarks.references", "load", ndjson, place / "reference.db", directory=place)
            rate = run.rows / load.seconds
            for figure, file, more in ((lines, ndjson, ("--schema", schema)), (dump, sql, ())):
                data = place / file.stem
                done = python("tcsql", "load", file, "--data", data, *more, directory=place)
                figure.rounds.append(run.rows / done.seconds)
                figure.reference_rounds.append(rate)
                assert stored_rows(data / "tcsql.db") == run.rows
            with tcsql_server(place / "server") as server:
                server.post("/?command=sql", json.dumps({"sql": DDL}).encode())
                url = f"http://{server.host}:{server.port}"
                done = python("tcsql", "load", ndjson, "--url", url, directory=place)
                assert server.get(f"/?command=select&table={TABLE}&type=count") == {"count": run.rows}
            running.rounds.append(run.rows / done.seconds)
            running.reference_rounds.append(rate)
    return [lines, dump, running]
