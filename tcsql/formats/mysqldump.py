"""SQL dumps, as mysqldump, mariadb-dump, phpMyAdmin and Adminer write them: schema statements and rows.

The reader is fed bytes and keeps only what is not yet whole: the rows of a statement are worked off region by region
(see ``regions``), so a dump of one single INSERT needs no more memory than others. Between statements it looks for
the next words that matter:

    INSERT, REPLACE          rows, trusted: MySQL wrote them
    CREATE/ALTER/DROP/…      handed out as text, to be carried out before the next record is asked for
    SET NAMES, USE           the character set of what follows; another database
    everything harmless      LOCK, SET, views, triggers between DELIMITER lines, version comments: skipped
    anything else            a bad statement, never passed over silently

Lines are counted from 1. TIMESTAMP columns are as the dump has them: UTC, unless it was made with --skip-tz-utc.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from typing import Final

from tcsql.engine.schema import TableSchema
from tcsql.errors import BadRequest, UnknownTable
from tcsql.formats.charsets import UTF8, charset
from tcsql.formats.inserts import Shape, shape_of
from tcsql.formats.records import Bad, Ddl, Record, Skipped, Use
from tcsql.formats.regions import RowScanner
from tcsql.literals import string_value

#: A buffer of this size that holds no whole row or statement is tried again only when it has doubled.
REGION_BYTES: Final = 1 << 20
#: The longest row or statement; MySQL's max_allowed_packet cannot exceed it.
MAX_ROW_BYTES: Final = 1 << 30

_SHOWN_BYTES: Final = 200
#: Enough for the first words of any statement.
_WORDS_BYTES: Final = 256

_SPACE: Final = re.compile(
    rb"(?>(?:\xef\xbb\xbf|[\s;]++|--(?=\s)[^\n]*+\n|#[^\n]*+\n|/\*(?!M?!).*?\*/|/\*M!999999\\-.*?\*/)*)", re.DOTALL
)
#: A comment that does not end, or what may become one.
_OPEN_COMMENT: Final = re.compile(rb"--?(?:\s[^\n]*+)?\Z|#|/\*(?!M?!)|/\*?\Z|/\*M\Z|/\*M!999999\\-")
_NAME: Final = rb"(?:`(?>(?:[^`]|``)+)`|\"[^\"]++\"|[A-Za-z0-9_$]++)"
_EACH_NAME: Final = re.compile(_NAME)
_INSERT: Final = re.compile(
    rb"(?:INSERT|REPLACE)\s++(?>(?:(?:LOW_PRIORITY|DELAYED|HIGH_PRIORITY|IGNORE)\s++)*)(?:INTO\s++)?"
    rb"(?:" + _NAME + rb"\s*+\.\s*+)?(?P<table>" + _NAME + rb")\s*+"
    rb"(?:\((?P<columns>\s*+" + _NAME + rb"\s*+(?>(?:,\s*+" + _NAME + rb"\s*+)*))\)\s*+)?VALUES?\s*+(?=\()",
    re.IGNORECASE | re.DOTALL,
)
_STATEMENT: Final = re.compile(
    rb"(?>(?:[^;'\"`/#-]++|'(?>(?:[^'\\]++|\\.|'')*)'|\"(?>(?:[^\"\\]++|\\.|\"\")*)\"|`[^`]*+`"
    rb"|--(?=\s)[^\n]*+|#[^\n]*+|/\*.*?\*/|/(?!\*)|-)*);",
    re.DOTALL,
)
_WORDS: Final = re.compile(rb"(?:/\*M?!\d*+\s*+)?([A-Za-z]++)(?:\s++([A-Za-z_]++))?(?:\s++([A-Za-z_]++))?")
_SET_NAMES: Final = re.compile(rb"(?:/\*M?!\d*+\s*+)?SET\s++NAMES\s++'?([A-Za-z0-9_]++)", re.IGNORECASE)
_USE: Final = re.compile(rb"USE\s++(" + _NAME + rb")", re.IGNORECASE)
_OBJECT: Final = re.compile(
    rb"\b(VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT|SEQUENCE|DATABASE|SCHEMA|USER|ROLE|SERVER)\b", re.IGNORECASE
)
_DELIMITER: Final = re.compile(rb"DELIMITER[ \t]++(\S++)[^\n]*+\n", re.IGNORECASE)
_DELIMITER_END: Final = re.compile(rb"^[ \t]*+DELIMITER[ \t]++;[ \t\r]*+\n", re.IGNORECASE | re.MULTILINE)

_DDL_VERBS: Final = frozenset({"CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE"})
_DDL_NOUNS: Final = frozenset({"TABLE", "TABLES", "INDEX", "UNIQUE", "FULLTEXT"})
_HARMLESS: Final = frozenset(
    {
        "SET", "LOCK", "UNLOCK", "START", "BEGIN", "COMMIT", "ROLLBACK", "GRANT", "REVOKE", "FLUSH", "ANALYZE", "DO",
        "CHANGE", "SELECT", "CALL", "OPTIMIZE", "CHECK", "RESET", "PURGE", "INSTALL",
    }
)  # fmt: skip

SchemaOf = Callable[[str], TableSchema | None]
#: Yields records, returns whether to go on with what is in the buffer.
_Working = Generator[Record, None, bool]


def _all_tables(table: str) -> bool:
    return True


class DumpReader:
    """Feed it a dump in pieces; it yields rows, schema statements and what it skipped.

    ``schema_of`` is asked at each new shape of INSERT, after the statements handed out before were carried out.
    ``wanted`` says whose rows are wanted. Raises UnknownTable for rows of a table nobody knows, BadRequest for an
    unknown character set.
    """

    def __init__(self, schema_of: SchemaOf, wanted: Callable[[str], bool] = _all_tables) -> None:
        self._schema_of = schema_of
        self._wanted = wanted
        self._buffer = b""
        self._line = 1
        self._charset = UTF8
        self._scanner: RowScanner | None = None
        self._is_skipping = False
        self._is_last = False
        #: The size of the buffer below which trying again is useless.
        self._needed_bytes = 0
        self._said: set[str] = set()

    def feed(self, data: bytes) -> Iterator[Record]:
        """More of the dump. Consume all records before the next call."""
        self._buffer += data
        if len(self._buffer) >= self._needed_bytes:
            yield from self._work()

    def finish(self) -> Iterator[Record]:
        """The end of the dump."""
        self._is_last = True
        if not self._buffer.endswith(b"\n"):
            self._buffer += b"\n"
        yield from self._work()
        rest = self._buffer.strip(b" \t\r\n;")
        line = self._line - (not rest)  # the line end behind the last line is used up
        if self._is_skipping:
            yield Bad(line, "", "the dump ends inside a DELIMITER block")
        elif rest or self._scanner is not None:
            yield Bad(line, _shown(rest), "the dump ends inside a statement")

    def _work(self) -> Iterator[Record]:
        self._needed_bytes = 0
        more = True
        while more:
            if self._scanner is not None:
                more = yield from self._rows(self._scanner)
            elif self._is_skipping:
                more = self._skip()
            else:
                more = yield from self._statement()

    def _consume(self, size: int) -> None:
        self._line += self._buffer.count(b"\n", 0, size)
        self._buffer = self._buffer[size:]

    def _wait_for_more(self) -> bool:
        """Nothing is whole: try again when the buffer has doubled, so that a long value costs linear time."""
        size = len(self._buffer)
        if size > MAX_ROW_BYTES:
            raise BadRequest(f"line {self._line}: a row or statement is longer than {MAX_ROW_BYTES} bytes")
        self._needed_bytes = 2 * size if size > REGION_BYTES else 0
        return False

    # --- statements -----------------------------------------------------------------------------------------

    def _skip(self) -> bool:
        """Move behind the end of a DELIMITER block."""
        found = _DELIMITER_END.search(self._buffer)
        # the end stands on a line of its own, so whole lines before it can go
        self._consume(found.end() if found else self._buffer.rfind(b"\n") + 1)
        self._is_skipping = found is None
        return not self._is_skipping

    def _statement(self) -> _Working:
        """One statement, or the header of an INSERT."""
        space = _SPACE.match(self._buffer)
        assert space is not None  # every part is optional
        self._consume(space.end())
        buffer = self._buffer
        if not buffer:
            return False
        if not self._is_last and (_OPEN_COMMENT.match(buffer) or (len(buffer) < _WORDS_BYTES and b"\n" not in buffer)):
            return self._wait_for_more()
        words = (
            [word.decode().upper() for word in found.groups(b"")] if (found := _WORDS.match(buffer)) else ["", "", ""]
        )
        if words[0] == "DELIMITER":
            return (yield from self._delimiter())
        if words[0] in ("INSERT", "REPLACE") and not buffer.startswith(b"/*"):
            header = _INSERT.match(buffer)
            if header is not None:
                yield from self._begin_rows(header)
                return True
        statement = _STATEMENT.match(buffer)
        if statement is None:
            return self._wait_for_more()
        record = self._record_of(statement[0][:-1], words)
        self._consume(statement.end())
        if record is not None:
            yield record
        return True

    def _delimiter(self) -> _Working:
        found = _DELIMITER.match(self._buffer)
        if found is None:
            return self._wait_for_more()
        self._is_skipping = found[1] != b";"
        if self._is_skipping:
            yield Skipped("DELIMITER block", self._line)
        self._consume(found.end())
        return True

    def _record_of(self, statement: bytes, words: list[str]) -> Record | None:
        """What a statement other than an INSERT comes to; None: nothing."""
        if found := _SET_NAMES.match(statement):
            self._charset = charset(found[1].decode())
            return None
        verb, noun, third = words
        is_comment = statement.startswith(b"/*")
        if not is_comment and (found := _USE.match(statement)):
            return Use(_plain_name(found[1]), self._line)
        if verb in _DDL_VERBS:
            if noun == "OR":  # CREATE OR REPLACE
                noun = "TABLE" if re.match(rb"CREATE\s+OR\s+REPLACE\s+TABLE\s", statement, re.IGNORECASE) else third
            elif noun in ("ONLINE", "IGNORE"):
                noun = third
            if is_comment and verb != "CREATE":
                return None  # ALTER TABLE … DISABLE KEYS, DROP VIEW before CREATE VIEW
            if is_comment or (noun not in _DDL_NOUNS and verb != "TRUNCATE"):
                found = _OBJECT.search(statement[:_SHOWN_BYTES])
                return Skipped(f"{verb} {found[1].decode().upper() if found else noun}", self._line)
            return Ddl(self._charset.decode(statement)[0], self._line)
        if verb in _HARMLESS or is_comment:
            return None
        if verb in ("INSERT", "REPLACE"):
            return Bad(self._line, _shown(statement), f"{verb} without VALUES (…) is not supported")
        return Bad(self._line, _shown(statement), f"{verb or 'this'} is no statement of a dump")

    # --- rows -----------------------------------------------------------------------------------------------

    def _begin_rows(self, header: re.Match[bytes]) -> Iterator[Record]:
        table = _plain_name(header["table"])
        written = self._charset.decode(header[0].rstrip())[0]
        if self._scanner is None and self._wanted(table):
            schema = self._schema_of(table)
            if schema is None:
                raise UnknownTable(
                    f"line {self._line}: there is no table {table}",
                    "the dump has no CREATE TABLE for it: make it first",
                )
            listed = header["columns"]
            names = None if listed is None else [_plain_name(name) for name in _EACH_NAME.findall(listed)]
            try:
                shape = shape_of(written, table, names, schema, self._charset)
            except ValueError as error:
                raise BadRequest(f"line {self._line}: {error}") from None
            yield from self._without_values(shape, schema)
        else:
            shape = Shape(written, table, (), self._charset)
        self._scanner = RowScanner(shape)
        self._consume(header.end())

    def _without_values(self, shape: Shape, schema: TableSchema) -> Iterator[Record]:
        """Say once for each generated column that mysqldump leaves its values out; MariaDB's has them."""
        for column in schema.columns:
            what = f"generated column {schema.name}.{column.name}, which has no values in the dump"
            if column.generated and column.name not in shape.names and what not in self._said:
                self._said.add(what)
                yield Skipped(what, self._line)

    def _rows(self, scanner: RowScanner) -> _Working:
        scan = scanner.scan(self._buffer, self._line, self._is_last)
        self._consume(scan.consumed)
        if scan.ended:
            self._scanner = None
        yield from scan.records
        return True if scan.consumed else self._wait_for_more()


def _plain_name(written: bytes) -> str:
    text = written.decode("utf-8", "replace")
    return string_value(text) if text[0] in '`"' else text


def _shown(text: bytes) -> str:
    return text[:_SHOWN_BYTES].decode("utf-8", "replace")
