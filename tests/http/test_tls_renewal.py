"""A certificate renewed under a running server: new handshakes get the new one, a broken one changes nothing."""

from __future__ import annotations

import shutil
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tcsql.errors import SetupError
from tcsql.http.certificate import Certificate
from tcsql.settings import Settings
from tests.http.conftest import LANES
from tests.http.serving import Running, serving
from tests.http.test_tls import HEALTH, Paper, rest_of
from tests.results import is_torture


def shown(server: Running) -> bytes:
    """The certificate of a handshake that is made now."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with closing(context.wrap_socket(socket.create_connection(address, timeout=10))) as connection:
        found = connection.getpeercert(binary_form=True)
        connection.sendall(HEALTH)
        assert rest_of(connection).startswith(b"HTTP/1.1 200 OK")
    assert found is not None
    return found


def on_paper(paper: Paper) -> bytes:
    return ssl.PEM_cert_to_DER_cert(paper.certificate.read_text())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def put(paper: Paper, chain: Path, key: Path) -> None:
    """As certbot does: each file is replaced by another one."""
    for source, target in ((paper.certificate, chain), (paper.key, key)):
        shutil.copy(source, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)


@pytest.mark.parametrize("lane", LANES if is_torture() else ["fast"])  # its listener is the same
def test_a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not(lane: str, tmp_path: Path) -> None:
    first, second, third = (Paper(tmp_path, name) for name in ("first", "second", "third"))
    chain, key = tmp_path / "chain.pem", tmp_path / "chain.key"
    put(first, chain, key)
    flags = ("--tls-certificate", str(chain), "--tls-key", str(key))
    with serving(tmp_path / "data", *flags, *LANES[lane]) as running:
        running.client.close()
        assert shown(running) == on_paper(first)
        context = ssl.create_default_context(cafile=str(first.certificate))
        address = ("127.0.0.1", int(running.url.rpartition(":")[2]))
        with closing(
            context.wrap_socket(socket.create_connection(address, timeout=20), server_hostname="localhost")
        ) as old:
            put(second, chain, key)
            until(lambda: shown(running) == on_paper(second))
            key.write_bytes(b"half of a k")
            until(lambda: "the new certificate is not used" in running.stderr())
            assert shown(running) == on_paper(second)
            shutil.copy(third.key, key)  # of another certificate
            until(lambda: "tls_key is not the key of tls_certificate" in running.stderr())
            assert shown(running) == on_paper(second)
            shutil.copy(third.certificate, chain)
            until(lambda: shown(running) == on_paper(third))
            old.sendall(HEALTH)
            assert rest_of(old).startswith(b"HTTP/1.1 200 OK"), "connections that are open stay"
        assert running.stop() == 0
        assert running.stderr().count("the certificate was renewed") == 2
        assert "Traceback" not in running.stderr()
        assert "PRIVATE" not in running.stderr()


def test_a_change_is_taken_when_it_has_stood_still_and_told_once(tmp_path: Path) -> None:
    first, second = Paper(tmp_path, "first"), Paper(tmp_path, "second")
    chain, key = tmp_path / "chain.pem", tmp_path / "chain.key"
    put(first, chain, key)
    certificate = Certificate(Settings(tls_certificate=str(chain), tls_key=str(key)))
    assert [certificate.look() for _ in range(3)] == [None] * 3
    shutil.copy(second.certificate, chain)
    assert certificate.look() is None, "half of a pair that is being replaced is not told as a mistake"
    shutil.copy(second.key, key)
    assert [certificate.look() for _ in range(3)] == [None, True, None]
    key.unlink()
    assert [certificate.look() for _ in range(3)] == [None, False, None]
    with pytest.raises(SetupError, match="tls_key: cannot read"):
        certificate.read()
    put(first, chain, key)
    assert [certificate.look() for _ in range(3)] == [None, True, None]
