"""A private MySQL 9 in a temporary directory, from Debian sid's packages: unpacked into a cache, never installed.

    python -m tests.replication.mysql9      # fetch it: 48 MB, 270 MB unpacked; `make mysql9` does it

    with MySQL9() as server, server.connect() as connection:
        ...

Debian 12 has no MySQL. Sid's has libraries of its own beside it, its loader and C library among them, so that it runs
on any Linux of the same processor. The system's package state is neither read nor changed: apt works on directories of
the cache, its signatures and hashes are checked by Debian's keyring. Sid moves and a machine may have no network: tests
that need this server are skipped, with the reason and the command, while it has not been fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.mariadb import MariaDB

PACKAGE: Final = "mysql-server-core"
_MIRROR: Final = "http://deb.debian.org/debian"
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
#: The server needs no perl; a package that is said to be there already is not fetched.
_LEFT_OUT: Final = """Package: perl
Status: install ok installed
Maintainer: nobody
Architecture: {architecture}
Multi-Arch: allowed
Version: 99
Description: left out
"""


def cache() -> Path:
    """Where it is kept, outside any checkout."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tcsql-tests" / "mysql9"


def _root() -> Path:
    return cache() / "root"


def available() -> bool:
    """Whether it has been fetched whole."""
    return (_root() / "complete").exists()


MISSING: Final = "NOT TESTED against MySQL 9: it is not there. `make mysql9` fetches it (48 MB)"
needs_mysql9 = pytest.mark.skipif(not available(), reason=MISSING)


def fetch() -> None:
    """Fetch and unpack it; does nothing when it is there. Raises RuntimeError with what apt says."""
    if available():
        return
    base = cache()
    shutil.rmtree(base, ignore_errors=True)
    for each in ("state/lists/partial", "archives/partial", "none", "root"):
        (base / each).mkdir(parents=True)
    architecture = _run(["dpkg", "--print-architecture"]).strip()
    (base / "status").write_text(_LEFT_OUT.format(architecture=architecture))
    source = f"Types: deb\nURIs: {_MIRROR}\nSuites: sid\nComponents: main\nSigned-By: {_KEYRING}\n"
    (base / "sid.sources").write_text(source)
    settings = {
        "Dir::State": base / "state",
        "Dir::State::status": base / "status",
        "Dir::Cache": base,
        "Dir::Cache::archives": base / "archives",
        "Dir::Etc::sourcelist": base / "sid.sources",
        **{f"Dir::Etc::{each}": base / "none" for each in ("sourceparts", "preferencesparts", "parts")},
        "Acquire::Check-Valid-Until": "false",  # a mirror that lags is good enough here; signatures are still checked
        "Acquire::Languages": "none",
        "APT::Install-Recommends": "false",
        "pkgCacheGen::ForceEssential": "none",
        "Debug::NoLocking": "true",
    }
    (base / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    _run(["apt-get", "update", "-qq"], base)
    _run(["apt-get", "install", "-qq", "--yes", "--download-only", PACKAGE], base)
    for archive in sorted((base / "archives").glob("*.deb")):
        _run(["dpkg", "-x", str(archive), str(base / "root")])
    for each in ("archives", "state", "none"):
        shutil.rmtree(base / each)
    for each in base.glob("*.bin"):
        each.unlink()
    (base / "root" / "complete").touch()


def _run(command: list[str], apt: Path | None = None) -> str:
    surroundings = dict(os.environ) | ({"APT_CONFIG": str(apt / "apt.conf")} if apt else {})
    done = subprocess.run(
        command, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


class MySQL9(MariaDB):
    """One server process with its own data directory. ``options`` are added to its command line."""

    @staticmethod
    def program() -> list[str]:
        """mysqld through its own loader: the system's C library may be older."""
        root = _root()
        loader = next(root.glob("usr/lib*/ld-linux*.so.*"))
        libraries = {str(each.parent) for each in root.glob("usr/lib/**/*.so.*") if "mysql/" not in str(each)}
        return [str(loader), "--library-path", ":".join(sorted(libraries)), str(root / "usr/sbin/mysqld")]

    def _arguments(self) -> list[str]:
        root = _root()
        arguments = [
            *("--no-defaults", f"--datadir={self.base / 'data'}", f"--tmpdir={self.base}"),
            *(f"--secure-file-priv={self.base}", f"--lc-messages-dir={root / 'usr/share/mysql'}"),
            *(f"--character-sets-dir={root / 'usr/share/mysql/charsets'}", f"--plugin-dir={self.base}"),
        ]
        return [*arguments, "--user=root"] if os.geteuid() == 0 else arguments

    def _initialize(self) -> None:
        _run([*self.program(), *self._arguments(), "--initialize-insecure"])
        (self.base / "data" / "auto.cnf").unlink()  # its UUID: each server makes one at its first start

    def _command(self) -> list[str]:
        command = [*self.program(), *self._arguments(), f"--socket={self.socket}", "--skip-networking"]
        command += [f"--pid-file={self.base / 'pid'}", f"--log-error={self.base / 'err.log'}", "--mysqlx=OFF"]
        command += ["--innodb-buffer-pool-size=64M", "--innodb-redo-log-capacity=16M", "--performance-schema=OFF"]
        command += ["--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0", "--local-infile=ON"]
        return [*command, "--log-bin-trust-function-creators=ON", *self._options]


def main() -> int:
    try:
        fetch()
    except (OSError, RuntimeError) as error:
        print(f"MySQL 9 cannot be had: {error}", file=sys.stderr)
        return 1
    with MySQL9() as server, server.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT version()")
        print(f"MySQL {cursor.fetchone()[0]} runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
