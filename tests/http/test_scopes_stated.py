"""What a server tells of itself is for those whom the settings name, in both lanes; less than is safe is not taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tcsql.access.scopes import OPERATIONS, Scope
from tcsql.errors import SetupError
from tcsql.settings import OPTIONS, Settings
from tests.http.conftest import LANES
from tests.http.keyring import make_key
from tests.http.serving import finished, serving
from tests.http.test_operations import KEYS, SAMPLES, Served, expected

STATED = Settings(
    health_scope="read",
    ready_scope="admin",
    status_scope="open",
    openapi_scope="write",
    metrics_scope="published",
    sources_scope="read",
    slow_scope="open",
    backup_scope="read",
)
WHO = ("anonymous", "published", "read", "write", "admin", "read elsewhere", "wrong")
TELLING = [name for name, operation in OPERATIONS.items() if operation.setting]


@pytest.fixture(scope="module", params=LANES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data: Path = tmp_path_factory.mktemp("stated") / "data"
    data.mkdir(mode=0o700)
    tokens = {who: make_key(data, *key[0], **key[1]) for who in WHO if (key := KEYS[who]) is not None}
    tokens["wrong"] = tokens["wrong"][:-2] + ("AA" if tokens["wrong"][-2:] != "AA" else "BA")
    options = [OPERATIONS[name].setting for name in TELLING]
    flags = [part for name in options for part in (f"--{name.replace('_', '-')}", getattr(STATED, name))]
    with serving(data, *flags, *LANES[request.param]) as running:
        yield Served(running, running, tokens, data)
        assert running.stop() == 0
        assert "bug" not in running.stderr(), running.stderr()


@pytest.mark.parametrize("operation", TELLING)
def test_what_a_server_tells_of_itself_is_for_whom_the_settings_name(served: Served, operation: str) -> None:
    for ask in SAMPLES[operation]:
        for who in WHO:
            for _ in range(2):
                assert served.ask(who, ask).status_code == expected(operation, who, ask, STATED), (who, ask)


def test_all_that_tells_of_a_server_can_be_stated_and_nothing_that_changes_it() -> None:
    assert {*TELLING} == {"health", "ready", "status", "openapi", "metrics", "sources", "slow", "backup"}
    assert not any(OPERATIONS[name].changes for name in TELLING)
    assert OPTIONS["backup_scope"].metadata["choices"] == (Scope.READ, Scope.ADMIN)


def test_a_backup_cannot_be_opened_to_everybody(tmp_path: Path) -> None:
    for scope in ("open", "published", "write"):
        done = finished("serve", "--data", str(tmp_path / "data"), "--backup-scope", scope, cwd=tmp_path)
        assert done.returncode == SetupError.exit_code
        assert "backup_scope" in done.stderr or "backup-scope" in done.stderr
