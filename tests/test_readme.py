"""README, tutorial and guide tell the truth: their sessions run on a real server and give the replies shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tcsql.cli.demo import load_flights
from tests.http.serving import Running, serving
from tests.shell_examples import Shell, agrees, examples, write_files

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The whole demo data, loaded as the demo loads it: about 12 s, once for all pages that use it."""
    data = tmp_path_factory.mktemp("demo") / "data"
    load_flights(data)
    with serving(data, "--default-table", "flights") as running:
        yield running


@pytest.fixture
def nothing(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path / "data") as running:
        yield running


def check(page: str, running: Running, directory: Path) -> None:
    """Run every command of a page and compare; all differences are told at once."""
    text = (ROOT / page).read_text(encoding="utf-8")
    directory.mkdir(exist_ok=True)
    write_files(text, directory)
    shell = Shell(running.url, directory)
    found = examples(text)
    assert found, f"{page} has no session"
    wrong = []
    for example in found:
        printed = shell.run(example.command)
        if not agrees(example.shown, printed):
            wrong.append(f"{page}:{example.line}: {example.command}\nshown:\n{example.shown}\nprinted:\n{printed}")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_sessions_on_the_demo_give_the_replies_shown(page: str, flights: Running, tmp_path: Path) -> None:
    check(page, flights, tmp_path / "page")


def test_sessions_of_the_guide_give_the_replies_shown(nothing: Running, tmp_path: Path) -> None:
    check("docs/guide.md", nothing, tmp_path / "page")


def test_sessions_of_the_page_on_keys_give_the_replies_shown(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()
    with serving(page / "tcsql-data") as running:  # where tcsql key looks for it
        check("docs/keys.md", running, page)


def test_the_session_about_published_queries_gives_the_replies_shown(tmp_path: Path) -> None:
    write_files((ROOT / "docs" / "published.md").read_text(encoding="utf-8"), tmp_path)
    flags = ("--config", str(tmp_path / "tcsql.toml"), "--schema", str(tmp_path / "schema.sql"))
    with serving(tmp_path / "data", *flags) as running:
        check("docs/published.md", running, tmp_path / "page")
