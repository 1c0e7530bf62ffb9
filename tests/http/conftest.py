"""One server for all tests of this package, once per lane; each test makes tables of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from tests.http.serving import Running, serving

#: Every way in which a request can reach the endpoints, with the flags that choose it.
LANES: dict[str, tuple[str, ...]] = {"fast": (), "starlette": ("--fast-lane", "false")}

_numbers = count(1)


@pytest.fixture(scope="session", params=LANES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("served") / "data", *LANES[request.param], afresh=True) as running:
        yield running
        assert running.stop() == 0
        assert "bug" not in running.stderr(), running.stderr()


@pytest.fixture
def posts(server: Running) -> str:
    """A table of the seed's shape with ten rows; its name."""
    name = f"posts{next(_numbers)}"
    server.sql(
        f"CREATE TABLE {name} (id INT PRIMARY KEY AUTO_INCREMENT, uid INT NOT NULL DEFAULT 0, dateline INT, idtype "
        "VARCHAR(20), title VARCHAR(80), hits BIGINT UNSIGNED, price DECIMAL(20,2), KEY (uid), KEY (idtype, dateline))"
    )
    rows = [
        {
            "id": number,
            "uid": number % 3,
            "dateline": 1_000 * number,
            "idtype": ("blogid", "photoid")[number % 2],
            "title": f"Title {number}",
            "hits": number**2,
            "price": f"{number}.50",
        }
        for number in range(1, 11)
    ]
    answer = server.post(f"command=insert&table={name}", rows)
    assert answer.json()["inserted"] == 10, answer.text
    return name


@pytest.fixture
def make_table(server: Running) -> Callable[[str], str]:
    """Makes a table of the columns given; its name."""

    def make(columns: str) -> str:
        name = f"made{next(_numbers)}"
        server.sql(f"CREATE TABLE {name} ({columns})")
        return name

    return make
