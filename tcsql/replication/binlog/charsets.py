"""Text of any character set as the server's own conversion to utf8mb4 gives it. Pure.

Python's codecs differ from the servers' here and there (latin1 has no holes there, sjis reads 81 5F as a backslash,
what is no character is a question mark); ``charsetdata`` has all differences, asked of the servers. A column of many
values is read at once where that is possible: 40 ns a short text of one byte a character, 0.1 us for each character
that takes more.
"""

from __future__ import annotations

import re
from codecs import charmap_decode
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from tcsql.replication.binlog.charsetdata import CODECS, COLLATIONS, OTHERWISE
from tcsql.replication.binlog.faults import unknown

BINARY: Final = "binary"
UTF8: Final = frozenset(["utf8mb4", "utf8mb3"])
#: Most bytes of a character.
_WIDTHS: Final = {
    **dict.fromkeys(("utf8mb4", "utf16", "utf16le", "utf32", "gb18030"), 4),
    **dict.fromkeys(("utf8mb3", "ujis", "eucjpms"), 3),
    **dict.fromkeys(("big5", "cp932", "euckr", "gb2312", "gbk", "sjis", "ucs2"), 2),
}
#: One character of the sets that have long ones; whatever begins none is one by itself.
_PAIRS: Final = rb"[\x81-\xfe][\x30-\xff]|[\x00-\xff]"
_CHARACTERS: Final = {
    **dict.fromkeys(("big5", "euckr", "gb2312", "gbk"), _PAIRS),
    **dict.fromkeys(("cp932", "sjis"), rb"[\x81-\x9f\xe0-\xfc][\x40-\xfc]|[\x00-\xff]"),
    **dict.fromkeys(("ujis", "eucjpms"), rb"\x8f[\xa1-\xfe]{2}|[\x8e\xa1-\xfe][\xa1-\xfe]|[\x00-\xff]"),
    "gb18030": rb"(?:[\x81-\xfe][\x30-\x39]){2}|[\x81-\xfe][\x40-\xfe]|[\x00-\xff]",
}
_WIDE: Final = {"utf16": "utf-16-be", "ucs2": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be"}
_SURROGATE: Final = re.compile("[\U00010000-\U0010ffff\ud800-\udfff]")

#: Bytes of one value to its text; bytes when the server's own answer would be no UTF-8.
ToText = Callable[[bytes], str | bytes]


def _expanded(text: str) -> dict[int, str]:
    found = {}
    for number in text.split():
        low, _, high = number.partition("-")
        found.update(dict.fromkeys(range(int(low), int(high or low) + 1), ""))
    return found


_BY_COLLATION: Final = {number: name for name, text in COLLATIONS.items() for number in _expanded(text)}


def charset_of(collation: int) -> str:
    """The character set of a collation's number; raises BinlogFault for one that is not known.

    >>> charset_of(8), charset_of(63)
    ('latin1', 'binary')
    """
    name = _BY_COLLATION.get(collation)
    if name is None:
        raise unknown(f"a collation of number {collation}")
    return name


def width_of(charset: str) -> int:
    """Most bytes that a character takes."""
    return _WIDTHS.get(charset, 1)


@lru_cache
def otherwise(charset: str) -> dict[bytes, str]:
    """What Python's codec of a charset reads otherwise than the servers."""
    found = {}
    for run in OTHERWISE.get(charset, "").split():
        numbers, _, character = run.partition("=")
        low, _, high = numbers.partition("-")
        for number in range(int(low, 16), int(high or low, 16) + 1):
            code = int(character, 16) + number - int(low, 16)
            found[number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")] = chr(code)
    return found


@lru_cache
def text_of(charset: str) -> ToText:
    """What reads one value. Raises BinlogFault for a charset that is not known; UTF-8 and binary need none."""
    codec = _WIDE.get(charset)
    if codec is not None:
        return _wide(charset, codec)
    if charset not in CODECS:
        raise unknown(f"character set {charset}")
    pattern = _CHARACTERS.get(charset)
    if pattern is None:
        table = single_bytes(charset)
        return lambda data: charmap_decode(data, "strict", table)[0]
    return _of_characters(charset, pattern)


@lru_cache
def single_bytes(charset: str) -> str:
    """The 256 characters of a charset of single bytes."""
    special = otherwise(charset)
    found = (bytes([code]) for code in range(256))
    return "".join(
        special.get(each) or each.decode(CODECS[charset], "replace").replace("\ufffd", "?") for each in found
    )


def _of_characters(charset: str, pattern: bytes) -> ToText:
    characters = re.compile(pattern).findall
    codec = CODECS[charset]
    known = dict(otherwise(charset))

    def read(data: bytes) -> str:
        if data.isascii():
            return data.decode("ascii")
        found = characters(data)
        for each in set(found):
            if each not in known:  # at most as many as the set has characters
                try:
                    known[each] = each.decode(codec)
                except UnicodeDecodeError:
                    known[each] = "?"
        return "".join(map(known.__getitem__, found))

    return read


def _wide(charset: str, codec: str) -> ToText:
    def read(data: bytes) -> str | bytes:
        try:
            text = data.decode(codec)
        except UnicodeDecodeError:
            text = ""
        else:
            if charset != "ucs2" or text.isascii() or not _SURROGATE.search(text):
                return text
        # halves of pairs, which ucs2 and utf32 take for characters: MariaDB gives the bytes that they would have
        width = 4 if charset == "utf32" else 2
        order = "little" if charset == "utf16le" else "big"
        units = (int.from_bytes(data[at : at + width], order) for at in range(0, len(data), width))  # type: ignore[arg-type]  # one of the two
        return b"".join(chr(min(unit, 0x10FFFF)).encode("utf-8", "surrogatepass") for unit in units)

    return read


def texts_of(charset: str, raw: Sequence[bytes]) -> list[str | bytes]:
    """What ``text_of`` gives of each, all at once where characters are single bytes and none is NUL."""
    read = text_of(charset)
    if charset in _CHARACTERS or charset in _WIDE:
        return list(map(read, raw))
    texts = charmap_decode(b"\0".join(raw), "strict", single_bytes(charset))[0].split("\0")
    return texts if len(texts) == len(raw) else list(map(read, raw))  # type: ignore[return-value]  # mypy holds lists of subtypes apart
