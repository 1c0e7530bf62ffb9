"""docs/faults.md: every row names tests that exist, and has an id of its own."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "faults.md"


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(
        node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
    )


def test_every_fault_on_the_page_has_its_test() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and line[2].isupper()
    ]
    ids = [row[0] for row in rows]
    assert len(ids) > 30 and len(set(ids)) == len(ids)
    for row in rows:
        named = row[-1].split("`")[1::2]
        assert len(row) == 6 and named, row
        for name in named:
            file, _, function = name.partition("::")
            assert function in functions(TESTS / file), (row[0], name)
