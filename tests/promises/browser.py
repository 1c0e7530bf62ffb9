"""A real browser without a window, and a site of somebody else whose pages it visits.

    with Site(PAGES) as site, visiting(f"http://127.0.0.1:{site.port}/"):
        found = site.report()

A page tells what it found by posting JSON to ``/report`` of its site, from any origin. The browser is Debian's
Chromium with a profile of its own in a temporary directory; it and all its processes end with the block.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

import psutil  # type: ignore[import-untyped]  # ships no types

#: A cold start on a busy machine, and pages that wait for what never comes.
REPORT_S: Final = 120
_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",  # needs a user namespace, which containers lack; the pages are ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # the browser's own protection of local networks is younger than most browsers: we have to do without
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
)


class Site:
    """A web server on 127.0.0.1 with pages by path, and a letter box for what they report. ``port`` 0: any."""

    def __init__(self, pages: Mapping[str, str], port: int = 0) -> None:
        self.pages = dict(pages)
        self._reports: queue.Queue[dict[str, Any]] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def report(self) -> dict[str, Any]:
        """What a page told next."""
        return self._reports.get(timeout=REPORT_S)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = site.pages.get(self.path.partition("?")[0])
                self.answer(200 if page is not None else 404, (page or "").encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                self.answer(204, b"")
                if self.path == "/report":
                    site._reports.put(json.loads(body))

            def do_OPTIONS(self) -> None:
                self.answer(204, b"")

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Access-Control-Allow-Origin", "*")
                self.send_header("Access-Control-Allow-Headers", "*")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        return Handler


@contextlib.contextmanager
def visiting(url: str, *flags: str) -> Iterator[None]:
    """The browser shows that page while the block runs."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: install the package chromium"
    with tempfile.TemporaryDirectory(prefix="tcsql-browser-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *_FLAGS, *flags, f"--user-data-dir={profile}", url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
            start_new_session=True,
        )
        try:
            yield
        finally:
            _end(process)


def version() -> str:
    """The browser's own words."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: install the package chromium"
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    _, left = psutil.wait_procs(children, timeout=5)
    for child in left:  # helpers may have left the group
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    if process.poll() is None:
        process.kill()
    process.wait()
