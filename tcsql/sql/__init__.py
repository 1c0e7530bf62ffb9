"""MySQL's schema statements to changes, and schemas back to MySQL's statements. Pure."""

from tcsql.sql.binder import bind_all, changes_of
from tcsql.sql.parser import is_parser_loaded, parse_statements
from tcsql.sql.writer import create_table_sql

__all__ = ["bind_all", "changes_of", "create_table_sql", "is_parser_loaded", "parse_statements"]
