"""Shell sessions in Markdown as tests: commands that are run, replies that must be the ones shown.

    ```console                          a session: lines after "$ " are commands, a final \\ continues them,
    $ curl 'http://127.0.0.1:3888/…'    what follows is the reply; … in it stands for any text
    {"count":58665}
    ```
    <!-- file: posts.sql -->            the code block behind this comment is written to that file first

Commands run one after the other in one directory, against a server whose address replaces the documented one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DOCUMENTED_URL = "http://127.0.0.1:3888"
ANY = "…"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"<!-- file: (\S+) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Commands that ask a running server.
_ASKING = re.compile(r"\btcsql (?:query|explain|load|dump|backup|mysql (?:status|verify|recopy|accept))\b")
TIMEOUT_S = 30


@dataclass(frozen=True)
class Example:
    """One command with the reply that the page shows, and the line it stands in."""

    line: int
    command: str
    shown: str


def examples(text: str) -> list[Example]:
    """Every command of a page, in order."""
    found = []
    for block in _BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1)) + 1
        lines = block[1].splitlines()
        place = 0
        while place < len(lines):
            start = place
            assert lines[place].startswith("$ "), f"line {first + place}: a session begins with a command"
            command = [lines[place][2:]]
            while command[-1].endswith("\\"):
                place += 1
                command.append(lines[place])
            place += 1
            shown = []
            while place < len(lines) and not lines[place].startswith("$ "):
                shown.append(lines[place])
                place += 1
            found.append(Example(first + start, "\n".join(command), "\n".join(shown)))
    return found


def write_files(text: str, directory: Path) -> None:
    """The files that a page shows, where its commands find them."""
    for name, content in _FILE.findall(text):
        (directory / name).write_text(content, encoding="utf-8")


class Shell:
    """Runs the commands of one page against one server."""

    def __init__(self, url: str, directory: Path) -> None:
        assert shutil.which("curl"), "curl is missing: the documented requests are made with it"
        self.url = url
        self._directory = directory
        programs = directory / "bin"
        programs.mkdir()
        tcsql = programs / "tcsql"
        tcsql.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tcsql "$@"\n')
        tcsql.chmod(0o755)
        (directory / ".curlrc").write_text("silent\nshow-error\n")  # no progress meter, which a terminal has not either
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TCSQL_")}
        self._environment = plain | {
            "PATH": f"{programs}:{plain['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "CURL_HOME": str(directory),
            "COLUMNS": "200",
        }

    def run(self, command: str) -> str:
        """What the command prints, errors too."""
        actual = command.replace(DOCUMENTED_URL, self.url)
        if " --data " not in actual:
            actual = _ASKING.sub(rf"\g<0> --url {self.url}", actual)
        done = subprocess.run(
            ["sh", "-c", actual], cwd=self._directory, env=self._environment, timeout=TIMEOUT_S, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return "\n".join(line.rstrip() for line in done.stdout.replace(self.url, DOCUMENTED_URL).splitlines())


def agrees(shown: str, printed: str) -> bool:
    """Whether a reply is the one shown.

    >>> agrees('{"next":"…","rows":[]}', '{"next":"WyI3","rows":[]}'), agrees("1", "12")
    (True, False)
    """
    pattern = ".+?".join(re.escape(part) for part in shown.strip().split(ANY))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
