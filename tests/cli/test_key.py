"""``tcsql key`` against real servers: what is made, rotated and revoked holds at once, and no secret gets anywhere."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from docs.generate import commands
from tcsql.access.keys import parts_of
from tcsql.cli import main
from tests.cli.conftest import ROWS, TABLE, Run
from tests.http.conftest import LANES
from tests.http.serving import Running, finished, serving, wait_for

#: X-9: what a command did holds within this time.
SOON_S = 2.0


#: Filters that table posts cannot have, by the name of a key.
UNFIT = {"unfit": "nosuch:NUMEQ:1", "half": "pkey:NUMEQ:1|gone:STREQ:x", "pattern": "title:STRRX:("}
#: Made together, so that the server looks once.
KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("reader", "turning"), ()),
    "tenant": (
        *("-t", "posts", "--columns", "posts=id,hits", "--filter", "posts=hits:NUMEQ:5"),
        *("--max-rows", "1"),
    ),
    "slow": ("--rate", "0.1", "--burst", "30"),
    **{name: ("-t", "posts", "--filter", f"posts={where}") for name, where in UNFIT.items()},
}


class Keyed:
    """A server that is closed by keys, and what was ever printed as one."""

    def __init__(self, running: Running, data: Path) -> None:
        self.running = running
        self.data = data
        self.admin = ""
        self.made: dict[str, str] = {}
        self.tokens: list[str] = []

    def key(self, *arguments: str) -> str:
        """One ``tcsql key`` command; what it prints."""
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as errors:
            assert main(["key", *arguments, "--data", str(self.data)]) == 0, errors.getvalue()
        printed = out.getvalue().strip()
        if parts_of(printed) is not None:
            self.tokens.append(printed)
        return printed

    def status_of(self, token: str | None, query: str = "command=select&table=posts&limit_max=1") -> int:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.running.client.get(f"{self.running.url}/?{query}", headers=headers).status_code

    def until(self, token: str, status: int) -> None:
        wait_for(lambda: self.status_of(token) == status, SOON_S)


@pytest.fixture(scope="module", params=LANES)
def keyed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """Begun without keys; the first one closes it while it runs. What it wrote anywhere holds no secret."""
    data = tmp_path_factory.mktemp("keyed") / "data"
    with serving(data, *LANES[request.param]) as running:
        running.sql(TABLE)
        assert running.post("command=insert", ROWS).status_code == 200
        found = Keyed(running, data)
        assert found.status_of(None) == 200
        found.made = {name: found.key("make", name, "--scope", "read", *limits) for name, limits in KEYS.items()}
        found.admin = found.key("make", "admin", "--scope", "admin")
        wait_for(lambda: found.status_of(None) == 401, SOON_S)
        found.until(found.admin, 200)
        yield found
        status = running.client.get(running.url + "/status", headers={"Authorization": f"Bearer {found.admin}"}).text
        listed = running.client.get(running.url + "/sources", headers={"Authorization": f"Bearer {found.admin}"}).text
        assert running.stop() == 0
        files = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
        for text in (running.stderr(), status, listed, files.decode("latin-1"), "".join(running.lines)):
            for token in found.tokens:
                assert token[15:] not in text
        assert '"message":"a key was made"' in running.stderr()
        assert "bug" not in running.stderr(), running.stderr()


def test_a_key_opens_what_its_scope_names_until_it_is_revoked(keyed: Keyed) -> None:
    token = keyed.made["reader"]
    keyed.until(token, 200)
    assert keyed.status_of(token, "command=sql&sql=DROP%20TABLE%20posts") == 403
    headers = {"Authorization": f"Bearer {token}"}
    assert keyed.running.post("command=insert", ROWS[0], headers=headers).status_code == 403
    assert keyed.running.client.get(keyed.running.url + "/backup", headers=headers).status_code == 403
    refused = keyed.running.get("command=select")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "tcsql key make" in refused.json()["error"]["hint"]


def test_a_revoked_key_a_wrong_one_and_an_unknown_one_get_the_same_answer(keyed: Keyed) -> None:
    token = keyed.key("make", "gone", "--scope", "read")
    keyed.until(token, 200)
    keyed.key("revoke", "gone")
    keyed.until(token, 401)
    assert keyed.status_of(None) == 401
    assert keyed.status_of(keyed.admin) == 200
    wrong = keyed.admin[:-1] + ("A" if keyed.admin[-1] != "A" else "B")
    unknown = f"tcsql_00000000_{token[15:]}"
    bodies = set()
    for each in (token, wrong, unknown, "x", "tcsql_", token[:-1]):
        answer = keyed.running.get("command=select", headers={"Authorization": f"Bearer {each}"})
        assert answer.status_code == 401
        bodies.add(answer.text)
    assert len(bodies) == 1, bodies


def test_what_ends_by_itself_ends_on_a_connection_that_stays_open(keyed: Keyed) -> None:
    old = keyed.made["turning"]
    assert keyed.status_of(old) == 200
    new = keyed.key("rotate", "turning", "--grace", "3s")
    brief = keyed.key("make", "brief", "--scope", "read", "--expires", "3s")
    made = time.monotonic()
    keyed.until(new, 200)
    assert [keyed.status_of(old), keyed.status_of(brief)] == [200, 200]
    wait_for(lambda: keyed.status_of(old) == keyed.status_of(brief) == 401, 3 + SOON_S)
    assert 1 < time.monotonic() - made < 3 + SOON_S
    expired = keyed.running.get("command=select", headers={"Authorization": f"Bearer {brief}"})
    assert expired.json()["error"]["message"] == "the key has expired"
    assert keyed.status_of(new) == 200
    newer = keyed.key("rotate", "turning")
    keyed.until(newer, 200)
    assert [keyed.status_of(token) for token in (old, new, newer)] == [401, 401, 200]


def test_limits_of_a_key_hold(keyed: Keyed) -> None:
    token = keyed.made["tenant"]
    headers = {"Authorization": f"Bearer {token}"}
    page = keyed.running.get("command=select&limit_max=1&total=1", headers=headers).json()
    assert page["rows"] == [{"id": 1, "hits": 5}]
    assert page["total"] == 2
    assert keyed.status_of(token, "command=select&limit_max=2") == 400
    assert keyed.status_of(token, "command=select&limit_max=1&type=title") == 400
    assert keyed.status_of(token, "command=select&limit_max=1&where=title:STREQ:plain") == 400


@pytest.mark.parametrize("name", UNFIT)
def test_a_filter_that_does_not_fit_the_table_closes_it(keyed: Keyed, name: str) -> None:
    token = keyed.made[name]
    for query in ("command=select&table=posts", "command=select&table=posts&type=count", "command=explain&table=posts"):
        assert keyed.status_of(token, query) == 403, query


def test_a_rate_is_kept_and_says_when_to_come_again(keyed: Keyed) -> None:
    token = keyed.made["slow"]
    seen = [keyed.status_of(token) for _ in range(40)]
    assert seen.count(200) <= 30
    assert seen[-1] == 429
    answer = keyed.running.get("command=select", headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["error"]["code"] == "rate_limited"
    assert int(answer.headers["retry-after"]) >= 1


def test_what_happens_to_the_file_opens_nothing(keyed: Keyed) -> None:
    file = keyed.data / "keys.json"
    good = file.read_bytes()
    for number in (1, 2):
        if number == 1:
            file.write_bytes(good[:100])
        else:
            file.unlink()
        told = "the keys stay what they were"
        wait_for(lambda: keyed.running.stderr().count(told) == number, SOON_S)  # noqa: B023  # called at once
        assert [keyed.status_of(token) for token in (None, keyed.admin)] == [401, 200]
    file.touch(mode=0o600)
    file.write_bytes(good)
    wait_for(lambda: "the keys can be read again" in keyed.running.stderr(), SOON_S)


# -- the commands that ask a server ------------------------------------------------------------------------------------


def test_commands_present_the_key_of_a_file_or_of_the_environment(
    keyed: Keyed, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = keyed.running.url
    key_file = tmp_path / "key"
    key_file.write_text(keyed.admin + "\nnot a key\n")
    (tmp_path / "more.ndjson").write_text('{"id": 50, "title": "more"}\n')
    asking = (
        ("query", "limit_max=1"),
        ("explain", "where=hits:NUMEQ:5"),
        ("dump", "--table", "posts"),
        ("load", "more.ndjson", "--table", "posts"),
        ("backup", "copy.db", "--force"),
        ("mysql", "status"),
    )
    for arguments in asking:
        code, _, said = run(*arguments, "--url", url)
        assert (code, said.count("\n")) == (1, 1), said
        assert "--key-file FILE, or TCSQL_KEY" in said
        code, _, said = run(*arguments, "--url", url, "--key-file", str(key_file))
        assert (code, said.strip() if arguments[0] != "load" else "") == (0, ""), said
    monkeypatch.setenv("TCSQL_KEY", keyed.admin)
    for arguments in asking:
        assert run(*arguments, "--url", url)[0] == 0
    monkeypatch.setenv("TCSQL_KEY", keyed.made["reader"])
    for refused in ("backup copy.db --force", "load more.ndjson --table posts --skip-bad"):
        code, _, said = run(*refused.split(), "--url", url)
        assert code == 1
        assert "needs the scope" in said, "and no row was put aside as a bad one"
    assert not (tmp_path / "tcsql-rejected.ndjson").exists()
    monkeypatch.setenv("TCSQL_KEY", keyed.admin[:-1] + "!")
    code, _, said = run("query", "--url", url)
    assert (code, said.count("\n")) == (2, 1)
    assert "TCSQL_KEY holds no key" in said
    assert keyed.admin[15:-1] not in said


def test_no_command_takes_a_key_where_every_user_of_the_machine_can_read_it() -> None:
    spelt = {name: {option for each in command.params for option in each.opts} for name, command in commands().items()}
    for name in ("query", "explain", "load", "dump", "backup", *(f"mysql {each}" for each in ("status", "verify"))):
        assert "--key-file" in spelt[name], name
    assert not [name for name, options in spelt.items() if options & {"--key", "--token", "--secret"}]


# -- the commands themselves -------------------------------------------------------------------------------------------


def test_a_token_is_alone_on_standard_output_and_shown_once(run: Run, tmp_path: Path) -> None:
    code, token, said = run("key", "make", "web", "--scope", "read", "--scope", "write", "--expires", "90d")
    assert code == 0
    assert parts_of(token.removesuffix("\n")) is not None
    assert "web" in said
    assert "first key" in said
    secret = token.strip()[15:]
    for arguments in (("list",), ("list", "--json"), ("show", "web"), ("show", "web", "--json"), ("list", "--all")):
        code, shown, errors = run("key", *arguments)
        assert code == 0
        assert "web" in shown
        assert secret not in shown + errors
        assert "sha256" not in shown
    stored = tmp_path / "tcsql-data" / "keys.json"
    assert secret not in stored.read_text()
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    about = json.loads(run("key", "show", "web", "--json")[1])
    assert (about["scopes"], about["state"], about["id"]) == (["read", "write"], "live", token[6:14])
    assert "first key" not in run("key", "make", "second", "--scope", "published")[2]
    stored.unlink()
    said = run("key", "make", "third", "--scope", "published")[2]
    assert "first key" not in said  # the server has been closed all the time
    assert "gone with their file" in said


def test_the_directory_is_the_one_of_the_settings(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tcsql.toml").write_text('[server]\ndata = "elsewhere"\n')
    (tmp_path / "other.toml").write_text('[server]\ndata = "otherwise"\n')
    assert run("key", "make", "a", "--scope", "read")[0] == 0
    assert run("key", "make", "b", "--scope", "read", "--config", "other.toml")[0] == 0
    assert run("key", "make", "c", "--scope", "read", "--data", "here")[0] == 0
    for directory, name in (("elsewhere", "a"), ("otherwise", "b"), ("here", "c")):
        assert [each["name"] for each in json.loads((tmp_path / directory / "keys.json").read_text())["keys"]] == [name]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["web"], "has no scope"),
        (["web", "--scope", "reed"], 'did you mean "read"?'),
        (["", "--scope", "read"], "no name for a key"),
        (["a/b", "--scope", "read"], "no name for a key"),
        (["web", "--scope", "admin", "-t", "posts"], "admin"),
        (["web", "--scope", "published", "-t", "posts"], "published queries only"),
        (["web", "--scope", "read", "--filter", "posts=a:NUMEQ:1"], "add --table posts"),
        (["web", "--scope", "read", "-t", "posts", "--filter", "a:NUMEQ:1"], "posts=tenant:NUMEQ:5"),
        (["web", "--scope", "read", "-t", "posts", "--filter", "posts=a:NUMQ:1"], 'did you mean "NUMEQ"?'),
        (["web", "--scope", "read", "-t", "posts", "--filter", "posts=a:NUMEQ:1|"], "empty condition"),
        (["web", "--scope", "read", "-t", "posts", "--filter", "posts=a b:NUMEQ:1"], 'no column "a b"'),
        (["web", "--scope", "read", "-t", "posts", "--filter", "posts=a"], "not a condition"),
        (["web", "--scope", "read", "-t", "posts", "--columns", "posts=id,,x"], "not the name of a table or column"),
        (["web", "--scope", "read", "-t", "po sts"], "not the name of a table or column"),
        (["web", "--scope", "read", "--rate", "nan"], "rate must be"),
        (["web", "--scope", "read", "--burst", "5"], "no rate"),
        (["web", "--scope", "read", "--max-rows", "0"], "max_rows must be"),
        (["web", "--scope", "read", "--expires", "tomorrow"], "no date"),
        (["web", "--scope", "read", "--expires", "2020-01-01"], "over already"),
        (["web", "--scope", "read", "--expires", "0d"], "over already"),
        (["web", "--scope", "read", "--max-rows", "many"], "--max-rows"),
    ],
)
def test_what_makes_no_sense_makes_no_key(run: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    code, token, errors = run("key", "make", *arguments)
    assert (code, token, errors.count("\n")) == (2, "", 1), errors
    assert said in errors
    assert not (tmp_path / "tcsql-data").exists(), "and nothing else"


def test_names_are_of_one_key_that_lives(run: Run) -> None:
    assert run("key", "make", "web", "--scope", "read")[0] == 0
    code, token, said = run("key", "make", "web", "--scope", "read")
    assert (code, token) == (2, "")
    assert "there is a key web already" in said
    assert run("key", "revoke", "web")[0] == 0
    assert run("key", "make", "web", "--scope", "write")[0] == 0
    assert [each["scopes"] for each in json.loads(run("key", "list", "--json")[1])] == [["write"]]
    assert len(json.loads(run("key", "list", "--all", "--json")[1])) == 2


@pytest.mark.parametrize("command", [("revoke",), ("rotate",), ("show",)])
def test_a_key_that_is_not_there_is_told_and_nothing_is_made(run: Run, tmp_path: Path, command: tuple[str]) -> None:
    code, shown, said = run("key", *command, "web")
    assert (code, shown, said.count("\n")) == (2, "", 1)
    assert not (tmp_path / "tcsql-data").exists()
    assert run("key", "make", "web", "--scope", "read")[0] == 0
    code, _, said = run("key", *command, "wev")
    assert code == 2
    assert 'did you mean "web"?' in said


def test_a_server_starts_closed_by_keys_that_were_made_before_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = finished("key", "make", "web", "--scope", "read", "--data", str(data), cwd=tmp_path)
    audit = tmp_path / "audit.jsonl"
    with serving(data, "--audit-log", str(audit)) as running:
        assert running.get("command=select").status_code == 401
        assert running.client.get(running.url + "/health").status_code == 200
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        assert running.client.get(running.url + "/status", headers=headers).status_code == 200
        assert main(["key", "make", "cron", "--scope", "write", "--data", str(data)]) == 0
        wait_for(lambda: '"key_name":"cron"' in audit.read_text(), SOON_S)
        assert running.stop() == 0
    [line] = [json.loads(line) for line in audit.read_text().splitlines() if '"key"' in line]
    assert (line["operation"], line["what"], len(line["key"])) == ("key", "made", 8)
    file = data / "keys.json"
    file.chmod(0o640)
    refused = finished("serve", "--data", str(data), "--port", "0", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"chmod 600 {file}" in refused.stderr
    file.unlink()
    refused = finished("serve", "--data", str(data), "--port", "0", cwd=tmp_path)
    assert refused.returncode == 2
    assert "is gone, and keys have been made" in refused.stderr
