"""Orders compare undecoded rows as they compare decoded ones."""

from __future__ import annotations

from tcsql.engine.change import CreateTable
from tcsql.engine.order import Order
from tcsql.engine.query import OrderKind, OrderTerm
from tcsql.sql import changes_of


def test_two_integer_columns_order_rows_whose_key_has_two_parts() -> None:
    (change,) = changes_of("CREATE TABLE t (a int, b int, c int, d int, PRIMARY KEY (a, b))", lambda name: None)
    assert isinstance(change, CreateTable)
    schema = change.schema
    order = Order(schema, (OrderTerm("c", OrderKind.NUM, True), OrderTerm("d", OrderKind.NUM, True)))
    rows = [(b'{"a":%d,"b":2,"c":%d,"d":1}' % (a, a % 2), (a, 2)) for a in range(4)]
    found = sorted(rows, key=lambda row: order.key_of_data(*row))
    assert [pkey[0] for _, pkey in found] == [3, 1, 2, 0]
