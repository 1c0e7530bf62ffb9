"""MySQL's schema statements to changes, and schemas back to MySQL's statements. Pure."""

from tcsql.sql.binder import changes_of
from tcsql.sql.writer import create_table_sql

__all__ = ["changes_of", "create_table_sql"]
