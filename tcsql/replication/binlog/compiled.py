"""Row images to tuples, by code that is written for each table and each combination of columns that are NULL.

    rows: list = []
    RowCode([slots_after]).read(data, rows)

Rows of one table with the same columns NULL lie alike: runs of fixed widths are cut out by one call of ``struct``, a
text by one slice. Written out as a loop that costs 0.15 us and 0.1 us a text; an interpreter of column descriptions
costs ten times that. A loop reads on as long as the bitmaps are its own, so rows that alternate cost a call each.

The code is made of numbers and names of ours alone: nothing that a source sends gets into its text. After
``_MOST_LOOPS`` combinations of one table, further ones are read by a general routine, column by column.

Invariant: all bytes are used, and none that is not there: struct refuses to read beyond the end, slices that were cut
short leave the place behind the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct, error
from typing import Any, Final

from tcsql.replication.binlog.faults import broken
from tcsql.replication.binlog.slots import Slot

Row = tuple[Any, ...]
#: Reads rows from a place on: where it has stopped, and where the bitmap lies that was not its own, 0 for the first.
Loop = Callable[[bytes, int, int, Callable[[Row], None]], tuple[int, int]]
_MOST_LOOPS: Final = 64


class RowCode:
    """The rows of one table in one kind of event: ``images`` are one (write, delete) or two (update) lists of slots."""

    def __init__(self, images: Sequence[Sequence[Slot]]) -> None:
        self._images = images
        self._bitmap = (len(images[0]) + 7) // 8
        self._loops: dict[tuple[bytes, ...], Loop] = {}
        self._usual = (bytes(self._bitmap),) * len(images)

    def read(self, data: bytes, rows: list[Row], at: int = 0) -> None:
        """Append all rows of ``data``, values of all images one after the other; raises BinlogFault.

        Values of columns that are not wanted are left out; NULL is None; numbers are numbers, all else bytes.
        """
        try:
            self._read(data, rows, at)
        except (error, IndexError):
            raise broken("a row ends too early") from None

    def _read(self, data: bytes, rows: list[Row], at: int) -> None:
        end, bitmap, append = len(data), self._bitmap, rows.append
        masks = self._usual
        while at < end:
            loop = self._loops.get(masks) or self._new_loop(masks)
            if loop is None:
                at = self._general(data, at, append)
                masks = self._usual
                continue
            at, other = loop(data, at, end, append)
            if at < end:
                if other:
                    masks = (masks[0], data[other : other + bitmap])
                else:
                    masks = (data[at : at + bitmap],) * len(masks)
                if len(masks[-1]) != bitmap:
                    raise broken("a row ends in its head")
        if at != end:
            raise broken("a row ends too early")
        self._usual = masks

    def _new_loop(self, masks: tuple[bytes, ...]) -> Loop | None:
        if len(self._loops) >= _MOST_LOOPS:
            return None
        loop = self._loops[masks] = _loop(self._images, masks)
        return loop

    def _general(self, data: bytes, at: int, append: Callable[[Row], None]) -> int:
        """One row, whatever is NULL in it."""
        values: list[Any] = []
        for image in self._images:
            at = read_image(data, at, image, values)
        append(tuple(values))
        return at


def read_image(data: bytes, at: int, image: Sequence[Slot], values: list[Any]) -> int:
    """Append the values of one image that begins at ``at``; where it ends. Raises BinlogFault, struct.error."""
    nulls = int.from_bytes(data[at : at + (len(image) + 7) // 8], "little")
    at += (len(image) + 7) // 8
    for place, slot in enumerate(image):
        if nulls >> place & 1:
            value = None
        elif slot.is_long:
            length = int.from_bytes(data[at : at + slot.width], "little")
            at += slot.width + length
            value = data[at - length : at]
        else:
            value = Struct(f"<{slot.code}").unpack_from(data, at)[0]
            at += slot.width
        if slot.wanted:
            values.append(value)
        if at > len(data):
            raise broken("a row ends too early")
    return at


def _loop(images: Sequence[Sequence[Slot]], masks: Sequence[bytes]) -> Loop:
    """The loop for rows in which exactly the columns of the bitmaps are NULL."""
    writer = _Writer()
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        writer.image(number, image, mask)
    return writer.loop()


class _Writer:
    """Writes one loop: bytes of fixed width are gathered until a text follows, whose length ends the run."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: dict[str, object] = {}
        self._values: list[str] = []
        #: The run so far: codes, what they are assigned to, bytes.
        self._codes = ""
        self._targets: list[str] = []
        self._run = 0

    def image(self, number: int, image: Sequence[Slot], mask: bytes) -> None:
        size = len(mask)
        what = f"data[at:at + {size}]" if size > 1 else "data[at]"
        self._names[f"mask{number}"] = mask if size > 1 else mask[0]
        self._lines.append(f"if {what} != mask{number}: return start, {'at' if number else '0'}")
        self._pad(size)
        nulls = int.from_bytes(mask, "little")
        for place, slot in enumerate(image):
            name = f"v{number}_{place}"
            is_null = nulls >> place & 1
            if slot.wanted:
                self._values.append("None" if is_null else name)
            if is_null:
                continue
            if slot.is_long:
                self._text(name, slot)
            elif slot.wanted:
                self._add(slot.code, slot.width, name)
            else:
                self._pad(slot.width)
        self._flush()

    def _pad(self, width: int) -> None:
        self._codes += f"{width}x"
        self._run += width

    def _add(self, code: str, width: int, *targets: str) -> None:
        self._codes += code
        self._run += width
        self._targets.extend(targets)

    def _text(self, name: str, slot: Slot) -> None:
        three = slot.width == 3
        self._add(slot.code, slot.width, *(("size", "more") if three else ("size",)))
        run = self._run
        self._flush(moves=False)
        size = "size + (more << 16)" if three else "size"
        if slot.wanted:
            self._lines.append(f"here = at + {run}")
            self._lines.append(f"at = here + {size}")
            self._lines.append(f"{name} = data[here:at]")
        else:
            self._lines.append(f"at += {run} + {size}")

    def _flush(self, *, moves: bool = True) -> None:
        """Write the run; a run of nothing but what is passed over needs no call."""
        if self._targets:
            unpack = f"unpack{len(self._names)}"
            self._names[unpack] = Struct(f"<{self._codes}").unpack_from
            self._lines.append(f"{', '.join(self._targets)}, = {unpack}(data, at)")
        if moves and self._run:
            self._lines.append(f"at += {self._run}")
        self._codes, self._targets, self._run = "", [], 0

    def loop(self) -> Loop:
        defaults = "".join(f", {name}={name}" for name in self._names)
        body = "\n".join(f"        {line}" for line in self._lines)
        text = (
            f"def loop(data, at, end, append{defaults}):\n    while at < end:\n        start = at\n{body}\n"
            f"        append(({''.join(f'{value}, ' for value in self._values)}))\n    return at, 0\n"
        )
        space: dict[str, Any] = dict(self._names)
        exec(text, space)  # noqa: S102  # made of numbers and names of this module, see above  # nosec B102
        loop: Loop = space["loop"]
        return loop
