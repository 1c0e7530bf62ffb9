"""Character sets of dumps (``SET NAMES``) and how bytes become text and text bytes again without loss.

A dump is one byte stream that holds text in the connection's character set beside raw bytes of binary columns.
It is decoded as a whole, bytes that are no text become surrogates (``surrogateescape``), and a binary column is
encoded back: that gives its bytes exactly. A text column that still has surrogates held bytes that are no text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tcsql.errors import BadRequest

_CODECS: Final = {
    "utf8": "utf-8", "utf8mb3": "utf-8", "utf8mb4": "utf-8", "binary": "utf-8", "ascii": "utf-8",
    "latin1": "cp1252", "latin2": "iso8859-2", "latin5": "iso8859-9", "latin7": "iso8859-13", "greek": "iso8859-7",
    "hebrew": "iso8859-8", "cp850": "cp850", "cp852": "cp852", "cp866": "cp866", "cp932": "cp932", "cp1250": "cp1250",
    "cp1251": "cp1251", "cp1256": "cp1256", "cp1257": "cp1257", "koi8r": "koi8-r", "koi8u": "koi8-u", "big5": "big5",
    "gbk": "gbk", "gb2312": "gb2312", "gb18030": "gb18030", "sjis": "shift_jis", "ujis": "euc_jp", "euckr": "euc_kr",
    "eucjpms": "euc_jp", "tis620": "tis_620", "macroman": "mac_roman",
}  # fmt: skip
#: MySQL's latin1 is cp1252 whose five holes are the control characters of the same number.
_LATIN1_HOLES: Final = {0xDC00 + code: chr(code) for code in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Charset:
    """A character set of MySQL as a codec of Python."""

    name: str
    codec: str

    def decode(self, data: bytes) -> tuple[str, bool]:
        """The text, and whether all of it is text; what is not has become surrogates."""
        try:
            return data.decode(self.codec), True
        except UnicodeDecodeError:
            return data.decode(self.codec, "surrogateescape"), False

    def encode(self, text: str) -> bytes:
        """The bytes that ``decode`` had."""
        return text.encode(self.codec, "surrogateescape")

    def clean(self, text: str) -> str:
        """A text column's value without surrogates: U+FFFD where bytes were no text at all."""
        if text.isascii() or not _SURROGATE.search(text):
            return text
        if self.codec == "cp1252":
            text = text.translate(_LATIN1_HOLES)
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def charset(name: str) -> Charset:
    """The character set of that name; raises BadRequest for one that is not known."""
    codec = _CODECS.get(name.lower())
    if codec is None:
        raise BadRequest(
            f"character set {name[:40]} is not known", "make the dump with --default-character-set=utf8mb4"
        )
    return Charset(name.lower(), codec)


UTF8: Final = charset("utf8mb4")
