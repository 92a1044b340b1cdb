"""Curves of a variant as SVG, drawn here so that a page needs no script: losses to the left, looks to the right."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.experiments.results import VariantResult

NAMESPACE = "http://www.w3.org/2000/svg"  # needed in a file of its own, not in a page
POINTS = 60  # of a curve at most
WIDTH, HEIGHT = 300, 130  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 34, 8, 20, 18  # margins within it
OUTLIERS = 0.01  # share of the values beyond either end of the axis

# Readable in light and dark alike; blue and orange differ for the colour-blind too.
STYLE = (
    "text{font:10px sans-serif;fill:#555}.axis{stroke:#999;fill:none}.a,.b,.c{fill:none;stroke-opacity:.65}"
    ".a{stroke:#1f77b4}.b{stroke:#e8590c}.c{stroke:#2b8a3e}"
    "text.a{fill:#1f77b4;stroke:none}text.b{fill:#e8590c;stroke:none}text.c{fill:#2b8a3e;stroke:none}"
    "@media(prefers-color-scheme:dark){text{fill:#aaa}.a{stroke:#74b9ff}.b{stroke:#ffa94d}.c{stroke:#69db7c}"
    "text.a{fill:#74b9ff}text.b{fill:#ffa94d}text.c{fill:#69db7c}}"
)

Line = list[tuple[float, float]]  # of epoch and value


@dataclass(frozen=True)
class Curve:
    """One quantity: a line a seed."""

    name: str
    lines: list[Line]


def variant_svg(result: VariantResult, label: str, standalone: bool) -> str:
    """The curves of all seeds of a variant. standalone: as a file of its own."""
    losses = [
        Curve("loss of D", [[(point.epoch, point.d_loss) for point in seed.curve] for seed in result.seeds]),
        Curve("of G", [[(point.epoch, point.g_loss) for point in seed.curve] for seed in result.seeds]),
    ]
    looks = [
        Curve("classes covered", [[(look.epoch, look.coverage) for look in seed.looks] for seed in result.seeds]),
        Curve("diversity", [[(look.epoch, look.diversity) for look in seed.looks] for seed in result.seeds]),
        Curve("precision", [[(look.epoch, look.precision) for look in seed.looks] for seed in result.seeds]),
    ]
    body = _panel(losses, 0, result.epochs, _range(losses)) + _panel(looks, WIDTH, result.epochs, (0.0, 1.1))
    namespace = f' xmlns="{NAMESPACE}"' if standalone else ""
    return (
        f'<svg{namespace} viewBox="0 0 {2 * WIDTH} {HEIGHT}" width="{2 * WIDTH}" height="{HEIGHT}" role="img">'
        f"<title>{label}: losses, and what the classifier saw, over {result.epochs} epochs</title>"
        f"<style>{STYLE}</style>{body}</svg>"
    )


def _panel(curves: Sequence[Curve], offset: int, epochs: int, span: tuple[float, float]) -> str:
    """Axes with their ends, the names of the curves, and the lines."""
    low, high = span
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    parts = [
        f'<g transform="translate({offset} 0)"><path class="axis" d="M{left} {top}V{bottom}H{right}"/>',
        f'<text x="{left - 3}" y="{top + 8}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{left - 3}" y="{bottom}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{left}" y="{HEIGHT - 5}">0</text>',
        f'<text x="{right}" y="{HEIGHT - 5}" text-anchor="end">epoch {epochs}</text>',
    ]
    across = left
    for style, curve in zip("abc", curves, strict=False):
        parts.append(f'<text class="{style}" x="{across}" y="12">{curve.name}</text>')
        across += 7 * len(curve.name)
        for line in curve.lines:
            points = " ".join(
                f"{left + x / epochs * (right - left):.0f},{bottom - _share(y, low, high) * (bottom - top):.0f}"
                for x, y in _thinned(line)
            )
            parts.append(f'<polyline class="{style}" points="{points}"/>' if points else "")
    return "".join([*parts, "</g>"])


def _range(curves: Sequence[Curve]) -> tuple[float, float]:
    """From the smallest to the largest value, without the few that would flatten all others; 0 is always in it."""
    values = sorted(value for curve in curves for line in curve.lines for _, value in line)
    if not values:
        return 0.0, 1.0
    cut = int(len(values) * OUTLIERS)
    low, high = min(0.0, values[cut]), max(0.0, values[-1 - cut])
    return (low, high) if high > low else (low, low + 1.0)


def _share(value: float, low: float, high: float) -> float:
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _thinned(line: Line) -> Line:
    """Every so manieth point, and the last."""
    step = -(-len(line) // POINTS)
    return line[::step] + line[-1:] if step > 1 else line
