"""Every declared type means the ColumnType that the engine's documentation gives it."""

from __future__ import annotations

import pytest

from tcsql.engine.change import CreateTable
from tcsql.engine.schema import Column
from tcsql.engine.values import ColumnType, Kind
from tcsql.errors import SqlSyntax
from tcsql.sql.binder import changes_of


def column(declaration: str) -> Column:
    [change] = changes_of(f"CREATE TABLE t (id int PRIMARY KEY, c {declaration})", lambda name: None)
    assert isinstance(change, CreateTable)
    return change.schema.columns[1]


def integer(name: str, low: int, high: int, unsigned: bool = False) -> ColumnType:
    return ColumnType(Kind.INTEGER, name, low=low, high=high, unsigned=unsigned)


TEXTS = {"tinytext": 255, "text": 65_535, "mediumtext": 16_777_215, "longtext": 4_294_967_295}
TYPES = {
    "tinyint": integer("tinyint", -128, 127),
    "tinyint(3) unsigned": integer("tinyint", 0, 255, True),
    "tinyint(1)": integer("tinyint", -128, 127),
    "bool": integer("tinyint", -128, 127),
    "BOOLEAN": integer("tinyint", -128, 127),
    "smallint": integer("smallint", -32_768, 32_767),
    "smallint unsigned zerofill": integer("smallint", 0, 65_535, True),
    "mediumint(9)": integer("mediumint", -8_388_608, 8_388_607),
    "mediumint unsigned": integer("mediumint", 0, 16_777_215, True),
    "int(11)": integer("int", -2_147_483_648, 2_147_483_647),
    "integer": integer("int", -2_147_483_648, 2_147_483_647),
    "int(10) unsigned": integer("int", 0, 4_294_967_295, True),
    "int(5) zerofill": integer("int", 0, 4_294_967_295, True),
    "int signed": integer("int", -2_147_483_648, 2_147_483_647),
    "bigint": integer("bigint", -(2**63), 2**63 - 1),
    "bigint(20) unsigned": integer("bigint", 0, 2**64 - 1, True),
    "serial": integer("bigint", 0, 2**64 - 1, True),
    "bit": ColumnType(Kind.INTEGER, "bit", length=1, high=1),
    "bit(64)": ColumnType(Kind.INTEGER, "bit", length=64, high=2**64 - 1),
    "year": ColumnType(Kind.INTEGER, "year", high=2155),
    "year(4)": ColumnType(Kind.INTEGER, "year", high=2155),
    "decimal": ColumnType(Kind.DECIMAL, "decimal", length=10),
    "decimal(65,30)": ColumnType(Kind.DECIMAL, "decimal", length=65, scale=30),
    "numeric(8,2) unsigned": ColumnType(Kind.DECIMAL, "decimal", length=8, scale=2, unsigned=True),
    "dec(5)": ColumnType(Kind.DECIMAL, "decimal", length=5),
    "fixed(5,1)": ColumnType(Kind.DECIMAL, "decimal", length=5, scale=1),
    "float": ColumnType(Kind.FLOAT, "float"),
    "float(7,3) unsigned": ColumnType(Kind.FLOAT, "float", unsigned=True),
    "float(53)": ColumnType(Kind.FLOAT, "double"),
    "double(10,2)": ColumnType(Kind.FLOAT, "double"),
    "double precision": ColumnType(Kind.FLOAT, "double"),
    "real": ColumnType(Kind.FLOAT, "double"),
    "char": ColumnType(Kind.TEXT, "char", length=1),
    "char(255)": ColumnType(Kind.TEXT, "char", length=255),
    "varchar(80)": ColumnType(Kind.TEXT, "varchar", length=80),
    "varchar(80) CHARACTER SET latin1 COLLATE latin1_bin": ColumnType(Kind.TEXT, "varchar", length=80),
    "character varying(7)": ColumnType(Kind.TEXT, "varchar", length=7),
    "national varchar(7)": ColumnType(Kind.TEXT, "varchar", length=7),
    "nchar(7)": ColumnType(Kind.TEXT, "char", length=7),
    **{name: ColumnType(Kind.TEXT, name, length=size) for name, size in TEXTS.items()},
    "text(60)": ColumnType(Kind.TEXT, "tinytext", length=255),
    "text(100)": ColumnType(Kind.TEXT, "text", length=65_535),
    "long": ColumnType(Kind.TEXT, "mediumtext", length=16_777_215),
    "uuid": ColumnType(Kind.TEXT, "uuid", length=36),
    "inet4": ColumnType(Kind.TEXT, "inet4", length=15),
    "inet6": ColumnType(Kind.TEXT, "inet6", length=45),
    "binary": ColumnType(Kind.BINARY, "binary", length=1),
    "binary(16)": ColumnType(Kind.BINARY, "binary", length=16),
    "varbinary(16)": ColumnType(Kind.BINARY, "varbinary", length=16),
    "char(16) character set binary": ColumnType(Kind.BINARY, "binary", length=16),
    "char byte": ColumnType(Kind.BINARY, "binary", length=1),
    "text character set binary": ColumnType(Kind.BINARY, "blob", length=65_535),
    "tinyblob": ColumnType(Kind.BINARY, "tinyblob", length=255),
    "blob": ColumnType(Kind.BINARY, "blob", length=65_535),
    "blob(70000)": ColumnType(Kind.BINARY, "mediumblob", length=16_777_215),
    "mediumblob": ColumnType(Kind.BINARY, "mediumblob", length=16_777_215),
    "longblob": ColumnType(Kind.BINARY, "longblob", length=4_294_967_295),
    "point /*!80003 SRID 4326 */": ColumnType(Kind.BINARY, "point"),
    "geometrycollection": ColumnType(Kind.BINARY, "geometrycollection"),
    "vector(3)": ColumnType(Kind.BINARY, "vector"),
    "date": ColumnType(Kind.DATE, "date"),
    "datetime": ColumnType(Kind.DATETIME, "datetime"),
    "datetime(6)": ColumnType(Kind.DATETIME, "datetime", scale=6),
    "timestamp(3)": ColumnType(Kind.DATETIME, "timestamp", scale=3),
    "time(2)": ColumnType(Kind.TIME, "time", scale=2),
    "enum('a','b''c','ü ')": ColumnType(Kind.ENUM, "enum", members=("a", "b'c", "ü")),
    r"set('x','\'','é') CHARACTER SET latin1": ColumnType(Kind.SET, "set", members=("x", "'", "é")),
    "json": ColumnType(Kind.JSON, "json"),
    "longtext COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`c`))": ColumnType(Kind.JSON, "json"),
}


@pytest.mark.parametrize("declaration", TYPES)
def test_declared_type_means(declaration: str) -> None:
    assert column(declaration).type == TYPES[declaration]


DEFAULTS: dict[str, object] = {
    "int DEFAULT '7'": 7,
    "int DEFAULT -7": -7,
    "int DEFAULT 1e2": 100,
    "int(5) zerofill DEFAULT 00012": 12,
    "bool DEFAULT TRUE": 1,
    "bigint unsigned DEFAULT 18446744073709551615": 2**64 - 1,
    "int DEFAULT (42)": 42,
    "bit(8) DEFAULT b'101'": 5,
    "bit(8) DEFAULT 0x0f": 15,
    "decimal(10,2) DEFAULT 1.5": "1.50",
    "decimal(10,2) DEFAULT '0.00'": "0.00",
    "float DEFAULT 1.5": 1.5,
    "double DEFAULT 1e10": 10_000_000_000,
    "varchar(9) DEFAULT 'it''s'": "it's",
    r"varchar(9) DEFAULT 'a\n\\'": "a\n\\",
    "varchar(9) DEFAULT ''": "",
    "varchar(9) DEFAULT 12": "12",
    "varchar(9) DEFAULT (_utf8mb4'ü')": "ü",
    "varchar(9) DEFAULT 0x616263": "abc",
    "text DEFAULT ('x')": "x",
    "binary(3) DEFAULT 'a'": "YQAA",
    "varbinary(3) DEFAULT x'00ff'": "AP8=",
    "date DEFAULT '0000-00-00'": "0000-00-00",
    "datetime(3) DEFAULT '0000-00-00 00:00:00'": "0000-00-00 00:00:00.000",
    "datetime DEFAULT '2020-02-29 01:02:03'": "2020-02-29 01:02:03",
    "datetime DEFAULT 0": "0000-00-00 00:00:00",
    "time(1) DEFAULT 0": "00:00:00.0",
    "time DEFAULT '-12:00:00'": "-12:00:00",
    "year DEFAULT 2020": 2020,
    "year DEFAULT '0000'": 0,
    "enum('a','b') DEFAULT 'b'": "b",
    "set('a','b') DEFAULT 'b,a'": "a,b",
    "json DEFAULT ('{}')": "{}",
    "int DEFAULT NULL": None,
}


@pytest.mark.parametrize("declaration", DEFAULTS)
def test_default_is_a_stored_value(declaration: str) -> None:
    found = column(declaration)
    assert (found.default, found.has_default) == (DEFAULTS[declaration], DEFAULTS[declaration] is not None)


@pytest.mark.parametrize(
    "declaration",
    [
        "timestamp DEFAULT CURRENT_TIMESTAMP",
        "timestamp NULL DEFAULT current_timestamp() ON UPDATE current_timestamp()",
        "datetime(6) DEFAULT NOW(6)",
        "datetime DEFAULT (now())",
        "datetime DEFAULT LOCALTIMESTAMP",
        "date DEFAULT curdate()",
        "date DEFAULT (current_date)",
        "time DEFAULT (curtime())",
    ],
)
def test_current_timestamp_is_asked_for_at_the_moment_of_writing(declaration: str) -> None:
    assert column(declaration).default_now


@pytest.mark.parametrize(
    "expression",
    [
        "(uuid())",
        "uuid()",
        "(1 + 2)",
        "(now() + interval 1 day)",
        "(-(1))",
        "((1)+1)",
        "current_timestamp()",
        "curdate()",
    ],
)
def test_default_expression_is_left_to_mysql_and_noted(expression: str) -> None:
    [change] = changes_of(f"CREATE TABLE t (id int PRIMARY KEY, c varchar(36) DEFAULT {expression})", lambda name: None)
    assert isinstance(change, CreateTable)
    assert not change.schema.columns[1].has_default
    assert change.schema.notes == (f"DEFAULT of column c is evaluated by MySQL only: {expression}",)


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ("varchar", "varchar needs a length"),
        ("bit(65)", "bit takes 1 to 64 bits, not 65"),
        ("bit(0)", "bit takes 1 to 64 bits, not 0"),
        ("decimal(66,2)", "decimal takes 0 to 65 digits, not 66"),
        ("decimal(5,6)", "decimal takes 0 to 5 digits after the point, not 6"),
        ("char(256)", "char takes 0 to 255 characters, not 256"),
        ("datetime(7)", "datetime takes 0 to 6 fraction digits, not 7"),
        ("varchr(9)", "there is no type varchr"),
        ("enum()", "expected a quoted member, found )"),
        ("enum('a','a')", "a member of this enum is there twice"),
        ("set('a,b')", "a member of a set cannot have a comma"),
        ("int DEFAULT 'abc'", "the DEFAULT of column c: 'abc' is not its kind of value"),
        ("tinyint DEFAULT 300", "the DEFAULT of column c: 300 is outside -128 to 127"),
        ("int DEFAULT abc", "abc is not a value for DEFAULT"),
        ("varchar(9) AUTO_INCREMENT", "AUTO_INCREMENT needs an integer column"),
        ("int NOT", "NOT is no attribute of a column that is known here"),
        ("int(x)", "expected a length, found x"),
        ("int(1.5)", "expected a length, found 1.5"),
    ],
)
def test_impossible_declaration_is_refused_with_its_reason(declaration: str, message: str) -> None:
    with pytest.raises(SqlSyntax) as caught:
        column(declaration)
    assert caught.value.message.split(": ", 1)[1] == message
    assert caught.value.extra["line"] == 1
    assert int(caught.value.extra["column"]) > len("CREATE TABLE t (id int PRIMARY KEY, ")


def test_mistyped_type_gets_the_nearest_name() -> None:
    with pytest.raises(SqlSyntax) as caught:
        column("varchr(9)")
    assert caught.value.hint == 'did you mean "varchar"?'
