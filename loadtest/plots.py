"""The plots of docs/performance.md as small SVGs, the same bytes for the same results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib

from loadtest.cells import chosen, middle

matplotlib.use("svg")
# No random ids, and text as text: small files that do not change without a reason.
matplotlib.rcParams.update({"svg.hashsalt": "tcsql", "svg.fonttype": "none", "font.family": "sans-serif"})
from matplotlib import pyplot  # noqa: E402  # chooses its backend on import
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator  # noqa: E402  # behind the backend too

COLOURS: Final[Mapping[str, str]] = {
    "constant": "#888888",
    "redis": "#c0504d",
    "mariadb": "#4f81bd",
    "slow": "#f0b040",
    "fast": "#2e8b57",
}
FACTORS_OFFERED: Final = (0.5, 1, 2, 4, 8)
_WIDTH, _HEIGHT = 9.0, 3.6


def draw(results: Mapping[str, Any], directory: Path) -> Iterator[Path]:
    """Write every plot that the results have data for; yields their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    peers = results.get("peers", {})
    if "peers" in peers:
        for connections in peers["peers"]["connections"]:
            yield _rates(peers["peers"], connections, directory / f"peers-{connections}.svg")
    if any(cell["kind"] == "offered" for cell in peers.get("overload", {}).get("cells", ())):
        yield _overload(peers["overload"], directory / "overload.svg")
    if "sweep" in results:
        from benchmarks import sweep_plot  # noqa: PLC0415  # only where there is something to draw

        yield from sweep_plot.draw(results["sweep"], directory)


def _rates(section: Mapping[str, Any], connections: int, path: Path) -> Path:
    """Two panels: requests a second, and the 99th percentile."""
    figure, panels = pyplot.subplots(1, 2, figsize=(_WIDTH, _HEIGHT), layout="constrained")
    queries, stacks = list(section["queries"]), section["stacks"]
    width = 0.85 / len(stacks)
    for panel, value, title in zip(panels, ("per_s", "p99_ms"), ("requests/s", "99th percentile, ms"), strict=True):
        for place, (name, about) in enumerate(stacks.items()):
            found = [
                middle(chosen(section["cells"], stack=name, query=query, connections=connections), value) or 0
                for query in queries
            ]
            where = [number + (place - (len(stacks) - 1) / 2) * width for number in range(len(queries))]
            panel.bar(where, found, width, color=COLOURS[name], label=about["title"])
        panel.set(yscale="log", title=f"{title} at {connections:,} connections", xticks=range(len(queries)))
        panel.set_xticklabels(queries)
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.grid(visible=True, axis="y", alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(stacks), fontsize=8)
    return _save(figure, path)


def _overload(section: Mapping[str, Any], path: Path) -> Path:
    figure, panel = pyplot.subplots(figsize=(_WIDTH / 1.6, _HEIGHT), layout="constrained")
    cells = section["cells"]
    for name, kind, colour in (("capacity offered", "offered", "#2e8b57"), ("connections", "connections", "#4f81bd")):
        # the last load offered is the recovery, which has a line of its own in the table
        own = [cell for cell in cells if cell["kind"] == kind and cell.get("place", 0) < len(FACTORS_OFFERED)]
        factors = sorted({cell["factor"] for cell in own})
        rates = [middle(chosen(own, factor=factor)) or 0 for factor in factors]
        peak = max(rates, default=0)
        if peak:
            panel.plot(factors, [rate / peak for rate in rates], marker="o", color=colour, label=name)
    panel.axhline(0.9, color="black", linewidth=0.8, linestyle=":")
    panel.set(xscale="log", xlabel="times", ylabel="good answers, of the peak", ylim=(0, 1.05))
    panel.set_xticks(FACTORS_OFFERED, labels=[f"{factor:g}" for factor in FACTORS_OFFERED])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.grid(visible=True, alpha=0.3)
    panel.legend(fontsize=8)
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path
