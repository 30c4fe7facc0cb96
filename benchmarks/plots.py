"""The plots of docs/performance.md, as SVG. Needs matplotlib; the same figures give the same bytes."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from benchmarks.findings import Contest, Curve, Findings

# Readable on light and dark pages: nothing is drawn behind them.
OURS = "#d9483b"
OTHERS = ("#3f83cf", "#3f9a48", "#b07d1e", "#9568c9", "#159aad", "#8a8f98", "#c7639f", "#6f7d3a")
INK = "#7d828a"
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "isolate_fn",  # else every run would name its shapes anew
    "font.size": 9,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def draw_all(findings: Findings, directory: str) -> list[str]:
    """Draw every plot whose figures are there.

    Args:
        findings: of one run.
        directory: for the files; made where it does not exist.

    Returns:
        The names of the files.
    """
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(STYLE)
    os.makedirs(directory, exist_ok=True)
    drawn = []
    for name, plot in PLOTS.items():
        if all(part in findings["contests"] or part in findings["curves"] for part in plot.needs):
            image = io.StringIO()
            plot.draw(findings).savefig(image, metadata={"Date": None}, bbox_inches="tight", transparent=True)
            with open(os.path.join(directory, f"{name}.svg"), "w", encoding="utf-8") as file:
                file.write(described(image.getvalue(), plot))
            drawn.append(f"{name}.svg")
    return drawn


def described(image: str, plot: Plot) -> str:
    """Return the image with words for those who do not see it, and without spaces at the ends of lines."""
    words = f"<title>{escape(plot.title)}</title>\n <desc>{escape(plot.description)}</desc>"
    image = re.sub(r"(<svg[^>]*>)", lambda found: f"{found[1]}\n {words}", image, count=1)
    return re.sub(r"[ \t]+$", "", image, flags=re.MULTILINE)


def _panels(count: int) -> tuple[Any, list[Any]]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, count, figsize=(4.4 * count if count > 1 else 6.4, 3.4), squeeze=False, layout="tight"
    )
    return figure, list(axes[0])


def _colours(names: list[str]) -> dict[str, str]:
    others = iter(OTHERS * 2)
    return {name: OURS if name.startswith("isolate_fn") else next(others) for name in names}


def latency(findings: Findings, *names: str) -> Any:
    """Draw how the times of each contestant are distributed: which part of the calls took no longer than that."""
    figure, axes = _panels(len(names))
    for axis, name in zip(axes, names, strict=True):
        contest: Contest = findings["contests"][name]
        shown = {who: one for who, one in contest["contestants"].items() if who != "plain call"}
        dashes = iter(("-", "--", ":"))
        for who, colour in _colours(list(shown)).items():
            style = next(dashes) if colour == OURS else "-"
            times = [time * 1e3 for time in shown[who]["percentiles"][:100]]  # the slowest one says nothing of the rest
            axis.plot(
                times, range(100), color=colour, label=who, linestyle=style, linewidth=2 if colour == OURS else 1.2
            )
        axis.set(xscale="log", xlabel="milliseconds", ylabel="% of calls", title=contest["what"])
        axis.title.set_fontsize(8.5)
        _plain_decades(axis.xaxis)
        axis.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2)
    return figure


def _plain_decades(axis: Any) -> None:
    """Label a logarithmic axis with 1, 2, 5, 10 instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def curves(findings: Findings, *names: str, xscale: str = "linear", yscale: str = "log", factor: float = 1e3) -> Any:
    """Draw medians against something, from the 10th to the 90th percentile as a band."""
    figure, axes = _panels(len(names))
    for axis, name in zip(axes, names, strict=True):
        found: Curve = findings["curves"][name]
        colours = iter((OURS, *OTHERS)) if not any(who.startswith("isolate_fn") for who in found["lines"]) else None
        for who, colour in _colours(list(found["lines"])).items():
            points = found["lines"][who]
            shade = next(colours) if colours else colour
            xs, middle, low, high = (list(column) for column in zip(*points, strict=True))
            axis.plot(xs, _times(middle, factor), color=shade, marker="o", markersize=3, label=who)
            axis.fill_between(xs, _times(low, factor), _times(high, factor), color=shade, alpha=0.15, linewidth=0)
        axis.set(xscale=xscale, yscale=yscale, xlabel=found["x"], ylabel=_label(found, factor), title=found["what"])
        if yscale == "linear":
            axis.set_ylim(bottom=0)
        else:
            _plain_decades(axis.yaxis)
        axis.title.set_fontsize(8.5)
        axis.legend(fontsize=7.5)
    return figure


def _times(numbers: list[float], factor: float) -> list[float]:
    return [number * factor for number in numbers]


def _label(found: Mapping[str, Any], factor: float) -> str:
    what = str(found.get("y", "seconds"))
    return {("seconds", 1e3): "milliseconds", ("bytes", 1e-6): "MB"}.get((what, factor), what)


class Plot(NamedTuple):
    """One file.

    Attributes:
        needs: contests and curves without which it is not drawn.
        title: what it shows.
        description: the same for those who do not see it.
        draw: makes it.
    """

    needs: tuple[str, ...]
    title: str
    description: str
    draw: Callable[[Findings], Any]


PLOTS: dict[str, Plot] = {
    "latency-warm": Plot(
        ("warm", "warm-pinned"),
        "Distribution of warm calls",
        "One line for each way to call: which part of the calls took no longer than that. Left on all processors, right "
        "with all processes on one.",
        lambda found: latency(found, "warm", "warm-pinned"),
    ),
    "latency-fresh": Plot(
        ("fresh", "fresh-idle"),
        "Distribution of fresh isolates",
        "One line for each sandbox: which part of the calls took no longer than that. Left back to back, right with a pause "
        "of the caller before each.",
        lambda found: latency(found, "fresh", "fresh-idle"),
    ),
    "payload": Plot(
        ("payload-numpy", "payload-bytes"),
        "Cost against size of the payload",
        "Time in and out for 1 kB to 1 GB, for isolate_fn, a bare memfd and ProcessPoolExecutor; left numpy arrays, right "
        "bytes.",
        lambda found: curves(found, "payload-numpy", "payload-bytes", xscale="log"),
    ),
    "alive": Plot(
        ("alive",),
        "Cost against number of isolates",
        "Time of a fresh isolate, of a call of a reused worker and of a bare interpreter beside 0 to 200 waiting isolates.",
        lambda found: curves(found, "alive"),
    ),
    "mounts": Plot(
        ("mounts",),
        "Cost against number of mounts",
        "Time of a fresh isolate with 0 to 200 read-only mounts: the first call of a policy, and later ones.",
        lambda found: curves(found, "mounts", yscale="linear"),
    ),
    "threads": Plot(
        ("threads",),
        "Calls per second against number of callers",
        "Throughput of fresh isolates, of reused workers and of a ProcessPoolExecutor from 1 to 8 threads, called directly "
        "and by an event loop.",
        lambda found: curves(found, "threads", factor=1),
    ),
    "memory": Plot(
        ("memory-fresh", "memory-warm"),
        "Memory over many calls",
        "Resident memory of caller and spawner over fresh isolates, left, and over warm calls, right.",
        lambda found: curves(found, "memory-fresh", "memory-warm", yscale="linear", factor=1e-6),
    ),
}
