"""``tcsql serve``: the server in the foreground."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tcsql.cli.options import with_settings
from tcsql.configuration import Effective
from tcsql.errors import SetupError
from tcsql.published.options import published_of
from tcsql.reloading import Configured
from tcsql.replication.address import database_of
from tcsql.server import run
from tcsql.sources import sources_of


@with_settings
def serve(effective: Effective, again: Callable[[], Effective]) -> None:
    """Serve the store in --data over HTTP until SIGTERM or Ctrl-C, and follow the sources of the configuration file.

    The directory is made when missing. SIGHUP, or tcsql reload, reads the configuration file again.
    """
    file = Path(effective.file_name)

    def once_more() -> Configured:
        try:
            return _configured(again())
        except SetupError as error:  # told to whoever asks over HTTP, too: no paths of this machine
            raise SetupError(error.message.replace(effective.file_name, file.name), error.hint) from None

    run(_configured(effective), file.absolute().parent, again=once_more)


def _configured(effective: Effective) -> Configured:
    """Everything that the file says; raises SetupError."""
    file_name = Path(effective.file_name).name
    sources = sources_of(effective.file, file_name)
    for source in sources:
        database_of(source)  # a url that cannot be read is told of now
    return Configured(effective.settings, sources, published_of(effective.file, file_name))
