"""The command line."""

from tcsql.cli.app import main

__all__ = ["main"]
