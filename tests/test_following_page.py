"""docs/following.md tells the truth: its session runs, in order, against a real MariaDB and gives what is shown."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.http.serving import serving
from tests.mariadb import MariaDB, program
from tests.shell_examples import Example, Shell, agrees, examples

PAGE = Path(__file__).parents[1] / "docs" / "following.md"
#: What is shown becomes true a moment after the command before it.
_SOON_S = 10.0


def test_the_session_of_the_page_gives_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text(encoding="utf-8")
    with MariaDB() as server, ExitStack() as stack:
        monkeypatch.setenv("SHOP_PASSWORD", "a-long-password")
        monkeypatch.setenv("ADMIN_URL", f"mysql://root@localhost/?unix_socket={server.socket}")
        (tmp_path / "tcsql.toml").write_text(_configuration(text, server.socket))
        shell = Shell("http://127.0.0.1:9", tmp_path)
        client = tmp_path / "bin" / "mariadb"
        client.write_text(f'#!/bin/sh\nexec {program("mariadb")} --no-defaults --socket={server.socket} "$@"\n')
        client.chmod(0o755)
        wrong = []
        for example in examples(text):
            if example.command.startswith("tcsql serve"):
                flags = ("--config", str(tmp_path / "tcsql.toml"))
                shell.url = stack.enter_context(serving(tmp_path / "data", *flags)).url
                continue
            printed = _run(shell, example)
            if not agrees(example.shown, printed):
                wrong.append(f"{example.line}: {example.command}\nshown:\n{example.shown}\nprinted:\n{printed}")
        assert not wrong, "\n\n".join(wrong)


def _configuration(text: str, socket: str) -> str:
    block = text.split("```toml\n", 1)[1].split("```", 1)[0]
    return block.replace("/run/mysqld/mysqld.sock", socket)


def _run(shell: Shell, example: Example) -> str:
    """What the command prints; a question is asked until it is answered as shown, or long enough."""
    until = time.monotonic() + _SOON_S
    while True:
        printed = shell.run(example.command)
        asks = example.command.startswith("curl") and "-X POST" not in example.command
        if not asks or agrees(example.shown, printed) or time.monotonic() > until:
            return printed
        time.sleep(0.05)
