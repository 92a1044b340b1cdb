"""Line charts as SVG: legible on light and dark pages, and equal bytes for equal curves."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

OUTLIERS = 0.01  # quantile of the losses beyond either end of the axis
# Legible on white and on near-black, as an image does not know the page's colours; distinct for the colour-blind.
COLOURS = ("#3a87c8", "#e8590c", "#2b8a3e")
GREY = "#808080"
SVG_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mint",  # or ids would be random, and each report different
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), GREY),
}

Points = Sequence[tuple[float, float]]  # x and y


@dataclass(frozen=True)
class Curve:
    """A line of a chart. label: its entry in the legend; None for a line that shares the entry of another one."""

    points: Points
    colour: str
    label: str | None


@dataclass(frozen=True)
class Chart:
    """Axes with their curves, which are named above them in their colours. marks: dashed vertical lines, by x."""

    curves: Sequence[Curve]
    x_label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    y_label: str = ""
    marks: Sequence[float] = ()


def draw_svg(charts: Sequence[Chart], size: tuple[int, int]) -> bytes:
    """Draw charts side by side as one SVG file with a transparent background. size: width and height in pixels."""
    file = io.BytesIO()
    with matplotlib.rc_context(SVG_STYLE):
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), layout="constrained")
        for axes, chart in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts, strict=True):
            for curve in chart.curves:
                x, y = zip(*curve.points, strict=True) if curve.points else ((), ())
                axes.plot(x, y, color=curve.colour, alpha=0.7, label=curve.label)
            for mark in chart.marks:
                axes.axvline(mark, color=GREY, linestyle="--")
            axes.set(xlim=chart.x_range, ylim=chart.y_range, xlabel=chart.x_label, ylabel=chart.y_label)
            axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), frameon=False, labelcolor="linecolor")
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return file.getvalue()


def loss_range(lines: Iterable[Points]) -> tuple[float, float]:
    """Range of the losses without outliers, which would flatten all other values; it includes 0."""
    losses = [loss for line in lines for _, loss in line]
    if not losses:
        return 0.0, 1.0
    low, high = np.quantile(losses, [OUTLIERS, 1 - OUTLIERS])
    low, high = min(0.0, float(low)), max(0.0, float(high))
    return (low, high) if high > low else (low, low + 1.0)
