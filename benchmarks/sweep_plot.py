"""The sweep as pictures: one SVG a family, p50 as a line and p99 dashed over the parameter, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.sweep_report import file_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIRECTORY: Final = Path(__file__).parent.parent / "docs" / "performance"
#: A share of nothing has no place on a logarithmic axis: it is drawn where one row in a million would be.
_NOTHING: Final = 1e-6
_WIDTH, _HEIGHT = 9.0, 4.6


def draw(results: Mapping[str, Any], directory: Path) -> Iterator[Path]:
    """Write the pictures of all families with more than one point; yields their paths."""
    import matplotlib  # noqa: PLC0415  # half a second, and only those who draw need it installed

    matplotlib.use("svg")
    # The same results give the same bytes: no random ids.
    matplotlib.rcParams["svg.hashsalt"] = "tcsql"
    from matplotlib import pyplot  # noqa: PLC0415  # chooses its backend on import

    directory.mkdir(parents=True, exist_ok=True)
    for family, group in groupby(results["curves"], key=lambda curve: curve["family"]):
        members = [curve for curve in group if len(curve["points"]) > 1]
        if not members:
            continue
        figure, axes = pyplot.subplots(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        _curves(axes, members)
        axes.axhline(results["goal_us"], color="black", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", yscale="log", ylabel="microseconds a reply", title=f"{family}, {results['rows']:,} rows")
        axes.set_xlabel(f"{members[0]['axis']} (leftmost: none)" if _has_nothing(members) else members[0]["axis"])
        axes.grid(visible=True, which="major", alpha=0.3)
        figure.legend(loc="outside right upper", fontsize=7, title="line: p50, dashed: p99", title_fontsize=7)
        path = directory / file_name(family)
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
        yield path


def _curves(axes: Axes, members: Sequence[Mapping[str, Any]]) -> None:
    for number, curve in enumerate(members):
        where = [max(point["at"], _NOTHING) for point in curve["points"]]
        color, marker = f"C{number % 10}", "o^"[number // 10 % 2]  # ten colours, then the same with another marker
        times = [point["reply_us"] for point in curve["points"]]
        axes.plot(where, [time["p50"] for time in times], color=color, marker=marker, markersize=3, label=curve["name"])
        axes.plot(where, [time["p99"] for time in times], color=color, linestyle="--", linewidth=0.8)


def _has_nothing(members: Sequence[Mapping[str, Any]]) -> bool:
    return any(point["at"] == 0 for curve in members for point in curve["points"])
