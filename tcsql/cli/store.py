"""``tcsql check``, ``tcsql backup`` and ``tcsql upgrade``: looking after a store."""

from __future__ import annotations

import os
from http.client import HTTPResponse
from pathlib import Path
from typing import Annotated, Final

import typer

from tcsql.cli.remote import HERE, KeyFile, Url, get, server_at
from tcsql.errors import SetupError, StoreDamaged
from tcsql.storage.check import check_store
from tcsql.storage.upgrade import upgrade as upgrade_store

_PIECE_BYTES: Final = 1 << 20


def backup(
    file: Annotated[Path, typer.Argument(help="the file to write", show_default=False)],
    url: Url = HERE,
    force: Annotated[bool, typer.Option("--force", help="replace an existing file")] = False,
    *,
    key_file: KeyFile = None,
) -> None:
    """Copy a running server's store into FILE; a server starts on it as tcsql.db in an empty directory."""
    if file.exists() and not force:
        raise SetupError(f"{file} exists already", "replace it with --force")
    partial = file.with_name(file.name + ".partial")
    with get(server_at(url, key_file), "/backup") as answer:
        try:
            _receive(answer, partial)
            partial.replace(file)
        except OSError as error:
            raise SetupError(f"cannot write {file}: {error.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)
    print(f"{file}: {file.stat().st_size} bytes")


def _receive(answer: HTTPResponse, partial: Path) -> None:
    # the store is its owner's alone, and so is what was copied from it
    with open(partial, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as target:
        while piece := answer.read(_PIECE_BYTES):
            target.write(piece)
        if target.tell() != int(answer.headers["content-length"]):
            raise SetupError("the connection broke off", "try again")
        target.flush()
        os.fsync(target.fileno())


def check(directory: Annotated[Path, typer.Argument(help="the directory of a closed store")]) -> None:
    """Verify a store: its file, its rows and every index against each other. Changes nothing."""
    findings = check_store(directory)
    for finding in findings:
        print(f"{finding.where}: {finding.what}")
    if findings:
        raise StoreDamaged(f"{directory}: {len(findings)} findings", "restore a backup, or dump what can be read")
    print(f"{directory}: sound")


def upgrade(directory: Annotated[Path, typer.Argument(help="the directory of a closed store")]) -> None:
    """Give a store of an older TCSQL this one's format: pages with checksums. No older one opens it then."""
    if upgrade_store(directory):
        print(f"{directory}: pages have checksums now")
    else:
        print(f"{directory}: nothing to do")
