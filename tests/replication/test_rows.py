"""Result sets from bytes: golden packets, cut anywhere, and every way of being wrong."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

import pytest

from tcsql.replication.rows import ProtocolError, RawColumn, Result, ResultReader, ServerError

#: What MariaDB 10.11 sent for: SELECT 1 AS a, NULL AS b, 'é' AS c; taken from the socket.
GOLDEN = bytes.fromhex(
    "0100000103"
    "17000002036465660000000161000c3f0001000000038100000000"
    "17000003036465660000000162000c3f0000000000068000000000"
    "17000004036465660000000163000c2d0004000000fd0100270000"
    "05000005fe00000200"
    "060000060131fb02c3a9"
    "05000007fe00000200"
)


def packet(number: int, payload: bytes) -> bytes:
    """Payloads of 16 MB and more go as several packets, the last one shorter."""
    out = b""
    while True:
        part, payload = payload[: 2**24 - 1], payload[2**24 - 1 :]
        out += pack("<I", len(part) | number % 256 << 24) + part
        number += 1
        if len(part) < 2**24 - 1:
            return out


def number(value: int) -> bytes:
    if value < 0xFB:
        return bytes([value])
    if value < 1 << 16:
        return b"\xfc" + pack("<H", value)
    return b"\xfd" + pack("<I", value)[:3] if value < 1 << 24 else b"\xfe" + pack("<Q", value)


def text(value: bytes | None) -> bytes:
    return b"\xfb" if value is None else number(len(value)) + value


def answer(names: Sequence[str], rows: Sequence[Sequence[bytes | None]], more: bool = False) -> bytes:
    """The answer to one SELECT."""
    payloads = [number(len(names))]
    for name in names:
        fixed = b"\x0c" + pack("<HIBHBH", 45, 80, 253, 0, 0, 0)
        payloads.append(b"".join(map(text, (b"def", b"", b"", b"", name.encode(), b""))) + fixed)
    end = b"\xfe" + pack("<HH", 0, 2 | more * 8)
    payloads += [end, *(b"".join(map(text, row)) for row in rows), end]
    return b"".join(packet(place + 1, payload) for place, payload in enumerate(payloads))


def read(data: bytes, size: int = 1 << 30) -> list[Result]:
    reader = ResultReader()
    for at in range(0, len(data), size):
        assert not reader.done
        reader.feed(data[at : at + size])
    assert reader.done
    return reader.results


def test_what_a_server_sent_is_read_field_by_field() -> None:
    [result] = read(GOLDEN)
    assert [field.name for field in result.fields] == ["a", "b", "c"]
    assert [(field.type, field.charset, field.length, field.decimals) for field in result.fields] == [
        (3, 63, 1, 0),
        (6, 63, 0, 0),
        (253, 45, 4, 39),
    ]
    assert [field.flags & 1 for field in result.fields] == [1, 0, 1]
    assert result.columns == [[b"1"], [None], ["é".encode()]]
    assert result.rows == 1


ROWS: list[list[bytes | None]] = [
    [b"", None, b"x" * 250],
    [None, None, None],
    [b"y" * 251, b"\xfe\xff\xfb\x00", b"z" * 65_535],
    [b"\xfe", b"w" * 65_536, b""],
]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 100, 4_093, 1 << 20])
def test_an_answer_may_be_cut_anywhere(size: int) -> None:
    data = answer(["a", "b", "c"], ROWS)
    columns: list[RawColumn] = [list(column) for column in zip(*ROWS, strict=True)]
    assert [result.columns for result in read(data, size)] == [columns]


def test_values_of_16_mb_and_more_are_joined() -> None:
    edge = 2**24 - 1
    for size in (edge - 9, edge - 5, edge - 4, edge - 3, edge, 2 * edge + 5):
        row: list[bytes | None] = [b"q" * size, b"tail", None]
        [result] = read(answer(["a", "b", "c"], [row, [b"1", b"2", b"3"]]), 262_144)
        assert result.columns == [[row[0], b"1"], [b"tail", b"2"], [None, b"3"]], size


def test_several_statements_give_several_results() -> None:
    done = packet(1, b"\x00\x03\x00" + pack("<HH", 8, 0))
    last = packet(1, b"\x00\xfc\x00\x01\x00" + pack("<HH", 0, 0))
    results = read(done + answer(["a"], [[b"1"]], more=True) + answer(["b", "c"], [], more=True) + last, 11)
    assert [(len(result.fields), result.columns, result.affected) for result in results] == [
        (0, [], 3),
        (1, [[b"1"]], 0),
        (2, [[], []], 0),
        (0, [], 256),
    ]


def test_an_error_tells_which_statement_failed() -> None:
    error = packet(1, b"\xff" + pack("<H", 1054) + b"#42S22Unknown column 'x'")
    with pytest.raises(ServerError, match=r"^Unknown column 'x'$") as caught:
        read(answer(["a"], [[b"1"]], more=True) + error)
    assert (caught.value.number, caught.value.statement) == (1054, 1)


def test_an_error_in_the_middle_of_rows_is_an_error() -> None:
    whole = answer(["a"], [[b"1"], [b"2"]])
    error = packet(9, b"\xff" + pack("<H", 1317) + b"#70100interrupted")
    with pytest.raises(ServerError) as caught:
        read(whole[:-9] + error)
    assert caught.value.number == 1317


@pytest.mark.parametrize(
    "data",
    [
        answer(["a", "b"], [[b"1"]]),  # a value less than fields
        answer(["a"], [[b"1", b"2"]]),  # one more
        answer(["a"], [])[:-9] + packet(4, b"\x05ab"),  # a value that ends after its row
        answer(["a"], [])[:-9] + packet(4, b"\xff"),  # an error without a number
        packet(1, b""),  # nothing
        packet(1, b"\xfb/etc/passwd"),  # the server asks for a file
        packet(1, b"\x02") + packet(2, b"\xfe" + pack("<HH", 0, 2)),  # fewer fields than announced
        answer(["a"], [[b"1"]]) + b"\x00",  # something behind the end
    ],
)
def test_bytes_that_are_no_answer_are_refused(data: bytes) -> None:
    reader = ResultReader()
    with pytest.raises((ProtocolError, ServerError)):
        reader.feed(data)
