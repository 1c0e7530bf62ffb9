"""Figures: what was measured, in which rounds, against which goal and which reference.

A round is one complete measurement of subject and reference, one right after the other. The value of a figure is
the median of its rounds; its ratio is the median of the rounds' own ratios, since what slows one round of a busy
machine slows both halves of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

from rich.console import Console


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be: ``of`` the value itself, or of its ratio to the reference."""

    kind: Literal["at most", "at least"]
    bound: float
    of: Literal["value", "ratio"] = "value"

    def is_met(self, value: float) -> bool:
        return value <= self.bound if self.kind == "at most" else value >= self.bound


@dataclass(slots=True)
class Figure:
    """One row of the table. ``reference``: what the ratio is to, measured in the same rounds."""

    group: str
    name: str
    unit: str
    rounds: list[float] = field(default_factory=list)
    goal: Goal | None = None
    reference: str | None = None
    reference_rounds: list[float] = field(default_factory=list)
    note: str | None = None

    @property
    def value(self) -> float:
        return median(self.rounds)

    @property
    def ratio(self) -> float | None:
        if not self.reference_rounds:
            return None
        return median(own / other for own, other in zip(self.rounds, self.reference_rounds, strict=True) if other)

    @property
    def is_met(self) -> bool | None:
        """None: no goal was set."""
        if self.goal is None:
            return None
        value = self.ratio if self.goal.of == "ratio" else self.value
        assert value is not None
        return self.goal.is_met(value)

    def to_json(self) -> dict[str, Any]:
        derived = {"value": self.value, "ratio": self.ratio, "is_met": self.is_met}
        return {**asdict(self), **derived}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Figure:
        plain = {key: value for key, value in data.items() if key not in ("value", "ratio", "is_met")}
        goal = plain.pop("goal")
        return cls(**plain, goal=Goal(**goal) if goal is not None else None)


@dataclass(slots=True)
class Run:
    """One run of the program: how much, how often, where, and what it says while it works."""

    rows: int
    rounds: int
    directory: Path
    console: Console

    def say(self, text: str) -> None:
        self.console.print(f"  {text}", style="dim", highlight=False)

    def in_rounds(self, subjects: Sequence[Callable[[], None]]) -> None:
        """Call every subject once a round, in turns; odd rounds in the opposite order."""
        for number in range(self.rounds):
            for subject in subjects if number % 2 == 0 else reversed(subjects):
                subject()


Group = Callable[[Run], list[Figure]]
