"""``tcsql published``: what the configuration publishes, checked against a closed store or asked of a server."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Run
from tests.http.serving import serving

TOML = """
[published.by_hits]
query = "table=posts&where=hits:NUMEQ:{hits:int(1..500)}"
[published.search]
sql = "SELECT id FROM posts WHERE title = {q:text(9)} LIMIT 5"
[published.later]
query = "table=later"
"""


def configure(text: str = TOML) -> None:
    Path("tcsql.toml").write_text(text, encoding="utf-8")


def test_each_is_listed_with_its_parameters_and_whether_an_index_serves_it(run: Run, store: Path) -> None:
    configure()
    code, shown, errors = run("published", "--data", str(store))
    assert (code, errors) == (0, "")
    told = {line.split("│")[1].strip(): line for line in shown.splitlines() if "/q/" in line}
    assert "ready" in told["/q/by_hits"]
    assert "hits" in told["/q/by_hits"]
    assert "no index serves it" in told["/q/search"]
    assert 'there is no table "later"' in told["/q/later"]


def test_without_a_store_nothing_is_made_and_mistakes_are_told_all_the_same(run: Run) -> None:
    configure()
    code, shown, _ = run("published", "--data", "nowhere", "--json")
    assert (code, [each["ready"] for each in json.loads(shown)]) == (0, [False, False, False])
    assert not Path("nowhere").exists()
    configure(TOML.replace("int(1..500)", "int(1..)"))
    code, _, errors = run("published", "--data", "nowhere")
    assert code == 2
    assert "tcsql.toml: [published.by_hits] query: {hits:int(1..)}" in errors
    configure("")
    assert run("published")[:2] == (0, "nothing is published\n")


def test_a_column_that_is_not_there_is_a_mistake(run: Run, store: Path) -> None:
    configure(TOML.replace("hits:NUMEQ", "hit:NUMEQ"))
    code, _, errors = run("published", "--data", str(store))
    assert code == 2
    assert 'did you mean "hits"?' in errors


def test_a_running_server_is_asked_for_what_it_has_published(run: Run, store: Path) -> None:
    configure()
    with serving(store, "--config", str(Path("tcsql.toml").absolute())) as running:
        for _ in range(3):
            assert running.client.get(f"{running.url}/q/by_hits?hits=5").status_code == 200
        _, shown, _ = run("published", "--url", running.url, "--json")
        told = {each["name"]: each for each in json.loads(shown)}
        assert (told["by_hits"]["calls"], told["search"]["scans"]) == (3, True)
        running.stop()
