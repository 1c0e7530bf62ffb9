"""``tcsql serve``: the server in the foreground."""

from __future__ import annotations

from pathlib import Path

from tcsql.cli.options import with_settings
from tcsql.configuration import Effective
from tcsql.published.options import published_of
from tcsql.replication.address import database_of
from tcsql.server import run
from tcsql.sources import sources_of


@with_settings
def serve(effective: Effective) -> None:
    """Serve the store in --data over HTTP until SIGTERM or Ctrl-C, and follow the sources of the configuration file.

    The directory is made when missing.
    """
    sources = sources_of(effective.file, effective.file_name)
    for source in sources:
        database_of(source)  # a url that cannot be read is told of now
    published = published_of(effective.file, effective.file_name)
    run(effective.settings, sources, Path(effective.file_name).absolute().parent, published=published)
