"""``tcsql serve``: the server in the foreground."""

from __future__ import annotations

from tcsql.cli.options import with_settings
from tcsql.server import run
from tcsql.settings import Effective


@with_settings
def serve(effective: Effective) -> None:
    """Serve the store in --data over HTTP until SIGTERM or Ctrl-C; the directory is made when missing."""
    run(effective.settings)
