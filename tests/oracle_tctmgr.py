"""Tokyo Cabinet's own tool as an oracle: un-indexed tables, searched by one shell script of many ``tctmgr`` calls.

A call takes about a millisecond, most of it starting the process; one shell for all of them saves Python's share.
Traps of the tool that this module keeps away from its users: options stand before the path; an unknown operator
drops its condition silently (so names come from ``Operator``); an order by the primary key is not applied in a
union (so unions are compared as sets); indexes change answers there (so there are none); tabs and newlines are
printed as blanks (so keys come as hexadecimal digits).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote

from tcsql.engine.query import Condition, Operator, OrderTerm, Select
from tcsql.engine.schema import TableSchema
from tests.model import Row
from tests.model_language import text_of
from tests.model_queries import key_text

_END = "#"


class TokyoTable:
    """A table of Tokyo Cabinet with the same rows; columns that are NULL are left out."""

    def __init__(self, directory: Path, schema: TableSchema) -> None:
        tool = shutil.which("tctmgr")
        assert tool is not None, "tctmgr is not installed: apt-get install tokyocabinet-bin"
        self._tool = quote(tool)
        self._path = quote(str(directory / f"{schema.name}.tct"))
        self._schema = schema
        self._directory = directory
        _shell(directory, [f"{self._tool} create {self._path} 1023"])

    def put(self, rows: Iterable[Row]) -> None:
        """One call a row: the only way in that keeps tabs and newlines."""
        _shell(self._directory, [self._put(row) for row in rows])

    def _put(self, row: Row) -> str:
        words = [key_text(self._schema, row)]
        for name, value in row.items():
            if value is not None and name not in self._schema.primary_key:
                words += [name, text_of(value)]
        return f"{self._tool} put {self._path} {' '.join(map(quote, words))}"

    def search(self, queries: Sequence[Select]) -> list[list[str]]:
        """The primary keys each query finds, in the order the tool gives."""
        lines = [f"{self._search(query)}; printf '{_END}\\n'" for query in queries]
        answers = _shell(self._directory, lines).split(f"{_END}\n")
        assert answers.pop() == "" and len(answers) == len(queries)
        return [[bytes.fromhex(line).decode() for line in answer.splitlines()] for answer in answers]

    def _search(self, query: Select) -> str:
        options = [f"-px -m {query.limit} -sk {query.skip}"]
        conditions = [condition for conjunction in query.where.any_of for condition in conjunction]
        if len(query.where.any_of) > 1:
            assert all(len(conjunction) == 1 for conjunction in query.where.any_of), (
                "one condition per query of a union"
            )
            options.append("-ms UNION")
        elif query.order:
            options.append(self._order(*query.order))
        words = [word for condition in conditions for word in self._triple(condition)]
        return f"{self._tool} search {' '.join(options)} {self._path} {' '.join(map(quote, words))}"

    def _column(self, name: str | None) -> str:
        return "" if name is None or name in self._schema.primary_key else name

    def _order(self, term: OrderTerm) -> str:
        return f"-ord {quote(self._column(term.column))} {term.kind.value}{'DESC' if term.descending else 'ASC'}"

    def _triple(self, condition: Condition) -> tuple[str, str, str]:
        """The tool has no NULL: "has the column" is what an empty STRINC says, and its negation the opposite."""
        if condition.operator is Operator.NULL:
            return (self._column(condition.column), "STRINC" if condition.negated else "~STRINC", "")
        negation = "~" if condition.negated else ""
        return (self._column(condition.column), negation + condition.operator.value, condition.operand)


def _shell(directory: Path, lines: Sequence[str]) -> str:
    """Run the lines in one shell, which stops at the first that fails."""
    script = directory / "script.sh"
    script.write_text("set -e\n" + "\n".join(lines) + "\n")
    done = subprocess.run(["sh", str(script)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-500:]
    return done.stdout.decode()
