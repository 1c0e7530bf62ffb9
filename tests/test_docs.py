"""The documentation agrees with the program: generated pages, names, links, versions, named tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import generate
from tcsql import __version__
from tcsql.engine.query import Operator
from tcsql.http.parameters import COMMANDS, PARAMETERS
from tcsql.settings import OPTIONS
from tests import shell_examples

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def prose(path: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", generate.pages())
def test_the_generated_reference_is_up_to_date(name: str) -> None:
    written = generate.DIRECTORY / name
    assert written.exists(), f"{name} is missing: make docs"
    assert written.read_text(encoding="utf-8") == generate.pages()[name], f"{name} is stale: make docs"


def test_no_page_of_the_reference_is_left_over() -> None:
    assert {path.name for path in generate.DIRECTORY.glob("*.md")} == set(generate.pages())


def test_every_setting_is_documented() -> None:
    page = generate.pages()["settings.md"]
    assert not [name for name in OPTIONS if f"| `{name}` |" not in page]


def test_every_command_of_the_program_is_documented_and_says_what_it_does() -> None:
    page = generate.pages()["commands.md"]
    for name, command in generate.commands().items():
        assert f"## tcsql {name}\n" in page
        assert command.help, f"tcsql {name} has no help"
        assert all(parameter.help for parameter in command.params), f"an option of tcsql {name} has no help"


def test_every_command_and_parameter_of_the_api_is_documented() -> None:
    page = generate.pages()["http.md"]
    assert not [name for name in (*COMMANDS, *PARAMETERS) if f"| `{name}` |" not in page]


def test_every_operator_is_documented_and_has_an_example_in_the_guide() -> None:
    page = generate.pages()["operators.md"]
    sessions = "\n".join(example.command for example in shell_examples.examples(GUIDE))
    for operator in Operator:
        assert f"| `{operator.value}` |" in page
        assert re.search(rf":~?{operator.value}\b", sessions), f"the guide has no example of {operator.value}"


def test_every_error_code_is_documented_with_a_meaning() -> None:
    rows = list(generate.error_rows())
    assert not [code for _, code, meaning in rows if not meaning]
    page = generate.pages()["errors.md"]
    assert not [code for _, code, _ in rows if f"| `{code}` |" not in page]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(path: Path) -> None:
    for link in _LINK.findall(prose(path)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


def test_the_functions_to_read_first_exist() -> None:
    text = (ROOT / "docs" / "internals.md").read_text(encoding="utf-8")
    first = text.split("## Seven functions first")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) in `(tcsql/[\w/]+\.py)` \|", first, re.MULTILINE)
    assert len(rows) == 7
    for names, file in rows:
        source = (ROOT / file).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)\.(\w+)`", names) or [pytest.fail(names)]:
            kind, function = name
            assert f"class {kind}" in source, f"{file} has no {kind}"
            assert f"def {function}(" in source, f"{file} has no {function}"


def test_the_map_names_every_package() -> None:
    text = (ROOT / "docs" / "internals.md").read_text(encoding="utf-8")
    packages = [path.parent.name for path in (ROOT / "tcsql").glob("*/__init__.py")]
    assert not [name for name in packages if f"`tcsql/{name}/`" not in text]


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_readme_names_the_commands_to_begin_with() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"make demo", "make test"} <= set(text.splitlines())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_names_a_place_of_work(path: Path) -> None:
    assert not re.search(r"/(?:work|root|tmp)/", path.read_text(encoding="utf-8"))


def test_sessions_are_read_as_commands_and_replies() -> None:
    page = "text\n```console\n$ one \\\n  more\nreply\n$ two\n```\n"
    found = shell_examples.examples(page)
    assert [(example.line, example.command, example.shown) for example in found] == [
        (3, "one \\\n  more", "reply"),
        (6, "two", ""),
    ]
    assert shell_examples.agrees('{"lsn":…}', '{"lsn":12}\n')
    assert not shell_examples.agrees('{"lsn":…}', '{"lsn":}')
    assert not shell_examples.agrees("a.c", "abc")
