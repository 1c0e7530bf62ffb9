"""The log: lines of JSON, whatever comes, and no secret in any of them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.logs import HIDDEN, JsonLines, clean, line_of, not_default, redacted
from tcsql.settings import Settings
from tests.http.serving import Running, environment, serving

SECRET = "tcsql_k3y1d_" + "0123456789abcdefGHIJ-_klmnopqrstuvwxyzABCDE"
HOSTILE = (
    'name"},{"level":"info',
    "two\nlines\r\nthree",
    "\x1b]0;title\x07\x1b[2J\x1b[31m",
    "\x00\x08\x7f\x80\x9b31m",
    "\u2028\u2029\u202e\ufeff",
    "\ud800 half a pair",
    "%s %d %(x)s {} {0}",
    "</script><script>alert(1)</script>",
)


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "args": arguments, "levelno": 30, "levelname": "WARNING"})
    made.__dict__.update(extra)
    return made


def parsed(line: str) -> dict[str, object]:
    assert line.isascii()
    assert all(" " <= letter <= "~" for letter in line), line
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_one_line_that_steers_nothing(name: str) -> None:
    line = parsed(JsonLines().format(record("table %s", name, table=name, inner={"list": [name]})))
    assert line["message"] == f"table {name}"
    assert line["table"] == name
    assert line["inner"] == {"list": [name]}
    assert line["level"] == "warning"


@given(st.text(), st.dictionaries(st.text(max_size=9), st.text() | st.binary() | st.floats(), max_size=4))
def test_every_text_makes_a_line(message: str, fields: dict[str, object]) -> None:
    parsed(line_of({"message": message, **fields}))


def test_a_message_that_does_not_fit_its_arguments_is_shown_and_not_raised() -> None:
    assert "5" in str(parsed(JsonLines().format(record("no place for it", 5)))["message"])


def test_times_are_utc_with_milliseconds() -> None:
    made = record("x")
    made.created = 1_700_000_000.0015
    assert parsed(JsonLines().format(made))["time"] == "2023-11-14T22:13:20.001Z"


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"Authorization: Bearer {SECRET}",
        f"authorization: bearer%20{SECRET}",
        f"the key {SECRET[:24]} is cut short",
        f"GET /?key={SECRET}&x=1",
        f"'{SECRET}'",
    ],
)
def test_keys_never_stand_in_a_line(text: str) -> None:
    for line in (line_of({"message": text}), line_of({text: 1}), JsonLines().format(record("%s", text))):
        parsed(line)
        assert SECRET[12:20] not in line
        assert HIDDEN in line


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("cannot reach mysql://tcsql:s3cr3t@db:3306/forum", "s3cr3t"),
        ("mysql+ssl://u:p@s:s/word@db/forum?x=1 is away", "word"),
        ("password=hunter2", "hunter2"),
        ('{"password": "hunter2 and more", "user": "x"}', "more"),
        ("push_token = 'abc'", "abc"),
        ("Authorization: Basic dXNlcjpwdw==", "dXNlcjpwdw"),
    ],
)
def test_passwords_and_tokens_never_stand_in_a_line(text: str, secret: str) -> None:
    assert secret not in redacted(text)
    assert secret not in line_of({"message": [text], "deep": {"a": {"b": {"c": {"d": {"e": text}}}}}})


def test_a_traceback_is_redacted_too() -> None:
    try:
        raise ValueError(f"cannot use {SECRET}")
    except ValueError:
        line = JsonLines().format(record("failed", exc_info=sys.exc_info()))
    assert "ValueError" in str(parsed(line)["traceback"])
    assert SECRET[12:] not in line


def test_ordinary_words_are_left_as_they_are() -> None:
    for text in ("http://127.0.0.1:3888/?where=a:NUMEQ:1", "tcsql_keys", "user@host", "the bearer: nobody", "pwd"):
        assert redacted(text) == text


def test_a_message_cannot_fill_the_disk() -> None:
    assert len(line_of({"message": "x" * 10**6})) < 20_000
    nested: list[object] = []
    nested.append(nested)
    assert len(str(clean(nested))) < 100


def test_loggers_of_libraries_warnings_and_threads_end_in_the_same_log() -> None:
    program = (
        "import logging, warnings, threading, asyncio, uvicorn\n"
        "from tcsql.logs import configure_logging\n"
        "configure_logging('info')\n"
        "logging.getLogger('uvicorn.error').warning('Invalid HTTP request received.')\n"
        "logging.getLogger('asyncio').error('Task exception was never retrieved', extra={'key': 'Bearer abcdef'})\n"
        "warnings.warn('old\\nthing')\n"
        "def fail(): raise RuntimeError('in a thread')\n"
        "thread = threading.Thread(target=fail, name='t\\x1b'); thread.start(); thread.join()\n"
        "class Bad:\n    def __del__(self): raise RuntimeError('in a finalizer')\n"
        "Bad()\n"
        "logging.getLogger('tcsql.x').debug('not at this level')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, env=environment()
    )
    assert ended.returncode == 0
    lines = [parsed(line) for line in ended.stderr.splitlines()]
    assert [line["logger"] for line in lines] == ["uvicorn.error", "asyncio", "py.warnings", "tcsql", "tcsql"]
    assert lines[1]["key"] == f"Bearer {HIDDEN}"
    assert "in a thread" in str(lines[3]["traceback"])
    assert "in a finalizer" in str(lines[4]["traceback"])


def test_nobody_reading_the_log_disturbs_nobody() -> None:
    program = "from tcsql.logs import *; configure_logging('info'); logging.getLogger('x').error('y'); print('went on')"
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", program], check=False, stdout=subprocess.PIPE, stderr=full, env=environment()
        )
    assert ended.stdout == b"went on\n"


def test_only_options_that_were_changed_are_told_at_the_start() -> None:
    assert not_default(Settings()) == {}
    assert not_default(Settings(port=1, get_writes=True)) == {"port": 1, "get_writes": True}


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path / "data", "--log-level", "info", "--hosts", "localhost,example.org") as running:
        yield running


def test_a_server_tells_its_settings_and_logs_no_request(told: Running) -> None:
    told.raw(b"GET /?where=\x1b[31m HTTP/1.1\r\nHost: \x1b[2J\nX: y\r\n\r\n")
    told.raw(
        f"GET /status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {SECRET}\r\n\r\n".encode(), until_close=False
    )
    assert told.stop() == 0
    lines = [parsed(line) for line in told.stderr().splitlines()]
    [start] = [line for line in lines if line["message"] == "listening"]
    assert start["settings"]["log_level"] == "info"  # type: ignore[index]  # an object of JSON
    assert SECRET not in told.stderr()
    assert "color_message" not in told.stderr()
    assert {"time", "level", "logger", "message"} <= set(start)
