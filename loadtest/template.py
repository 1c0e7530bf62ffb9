"""Requests as texts with values to draw: what ``ask.lua`` gives to wrk, and what samples are made from here.

A template is complete, from the request line to the end of the body. The values are drawn anew in every request.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number, uniform between two, both included."""

    low: int
    high: int

    def argument(self) -> str:
        return f"int:{self.low}:{self.high}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of some words, which have no semicolon."""

    words: tuple[str, ...]

    def argument(self) -> str:
        return f"of:{';'.join(self.words)}"


@dataclass(frozen=True, slots=True)
class Counting:
    """Numbers from ``first`` on, one after another."""

    first: int

    def argument(self) -> str:
        return f"seq:{self.first}"


Part = str | Int | OneOf | Counting


@dataclass(frozen=True, slots=True)
class Template:
    """A request in parts."""

    parts: tuple[Part, ...]

    def arguments(self) -> list[str]:
        """As ask.lua takes them; neighbouring texts become one.

        >>> get("/?id=", Int(1, 9)).arguments()
        ['=GET /?id=', 'int:1:9', '= HTTP/1.1\\\\r\\\\nHost: 127.0.0.1\\\\r\\\\n\\\\r\\\\n']
        """
        found: list[str] = []
        text = ""
        for part in self.parts:
            if isinstance(part, str):
                text += part
                continue
            if text:
                found.append(_literal(text))
                text = ""
            found.append(part.argument())
        return [*found, _literal(text)] if text else found

    def filled(self, values: Iterable[int | str]) -> str:
        """The request with given values, in the order of its parts."""
        following = iter(values)
        return "".join(part if isinstance(part, str) else str(next(following)) for part in self.parts)

    def draw(self, source: random.Random) -> list[int | str]:
        """Values as ask.lua would draw them."""
        found: list[int | str] = []
        for part in self.parts:
            if isinstance(part, Int):
                found.append(source.randint(part.low, part.high))
            elif isinstance(part, OneOf):
                found.append(source.choice(part.words))
            elif isinstance(part, Counting):
                found.append(part.first)
        return found


def _literal(text: str) -> str:
    return "=" + text.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n")


def get(*target: Part) -> Template:
    """A GET of a target in parts."""
    return Template(("GET ", *target, " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))


def post(target: str, body_bytes: int, *body: Part) -> Template:
    """A POST of JSON; ``body_bytes``: its length, the same whatever is drawn."""
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return Template((f"{head}Content-Length: {body_bytes}\r\n\r\n", *body))
