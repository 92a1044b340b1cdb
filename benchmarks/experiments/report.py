"""Report of the experiments in reports/experiments/: an HTML page, the same in Markdown, curves and sample grids.

    python -m benchmarks.experiments.report

The page has no scripts and refers only to the files beside it; it is light or dark as the reader's system is.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.experiments.content import CURVES, Report, VariantFigures, compose
from benchmarks.experiments.results import GRIDS, RESULT, VariantResult
from benchmarks.experiments.settings import REPORT, RESULTS
from benchmarks.experiments.variants import all_variants
from serving.errors import MintError
from serving.files import atomic_write
from training.stage import run_stage

TEMPLATES = Path(__file__).parent / "templates"
NO_GRID = "Its first run diverged before there was a sample grid."

CURVES_SIZE = (640, 176)  # pixels
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

Line = Sequence[tuple[float, float]]  # points of epoch and value


def main() -> None:
    """Write the report on all variants that have results."""
    report = write_report(RESULTS, REPORT)
    variants = sum(len(section.figures) for section in report.sections)
    print(f"reported {variants} of {len(all_variants())} variants in {REPORT / 'index.html'}")


def write_report(results: Path, folder: Path) -> Report:
    """Write the report's folder from the results. Raises MintError where there are none."""
    report = compose(read_results(results))
    for name in (GRIDS, CURVES):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    sizes = {}
    for section in report.sections:
        for figures in section.figures:
            write_curves(figures, folder / figures.curves)
            for grid in figures.grids:
                source = results / figures.result.name / GRIDS / f"epoch-{grid.epoch:04d}.png"
                shutil.copy(source, folder / grid.path)
                with Image.open(source) as image:
                    sizes[grid.path] = image.size
    templates = environment()
    for name, template in (("index.html", "report.html.j2"), ("README.md", "report.md.j2")):
        text = templates.get_template(template).render(
            report=report, sizes=sizes, curves_size=CURVES_SIZE, no_grid=NO_GRID
        )
        with atomic_write(folder / name) as part:
            part.write_text(text)
    return report


def read_results(folder: Path) -> dict[str, VariantResult]:
    """Read the results by variant, in the table's order. Raises MintError where there are none."""
    results = {
        variant.name: VariantResult.model_validate_json((folder / variant.name / RESULT).read_bytes())
        for variant in all_variants()
        if (folder / variant.name / RESULT).exists()
    }
    if not results:
        raise MintError(f"{folder} holds no results; run dvc repro experiments/dvc.yaml")
    return results


def environment() -> Environment:
    """Jinja environment of the templates; only HTML is escaped."""
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["inline_code"] = inline_code
    return templates


def inline_code(text: str) -> Markup:
    """Escape text for HTML, with `code` as <code>."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def write_curves(figures: VariantFigures, path: Path) -> None:
    """Write the curves of a variant's runs as SVG: losses on the left, the classifier's metrics on the right."""
    result = figures.result
    losses = {
        "loss of D": [[(point.epoch, point.d_loss) for point in seed.losses] for seed in result.seeds],
        "loss of G": [[(point.epoch, point.g_loss) for point in seed.losses] for seed in result.seeds],
    }
    metrics = {
        name: [[(one.epoch, float(getattr(one, field))) for one in seed.evaluations] for seed in result.seeds]
        for name, field in (("classes covered", "coverage"), ("diversity", "diversity"), ("precision", "precision"))
    }
    with matplotlib.rc_context(SVG_STYLE):
        figure = Figure(figsize=(CURVES_SIZE[0] / 72, CURVES_SIZE[1] / 72), layout="constrained")
        left, right = figure.subplots(1, 2)
        plot(left, losses, result.epochs, loss_range([line for lines in losses.values() for line in lines]))
        plot(right, metrics, result.epochs, (0.0, 1.1))
        with atomic_write(path) as part:
            figure.savefig(part, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


def plot(axes: Axes, curves: Mapping[str, Sequence[Line]], epochs: int, limits: tuple[float, float]) -> None:
    """Plot curves with one line per seed, and name them above the axes in their colours."""
    for colour, (name, lines) in zip(COLOURS, curves.items(), strict=False):
        for seed, line in enumerate(lines):
            epoch, value = zip(*line, strict=True) if line else ((), ())
            axes.plot(epoch, value, color=colour, alpha=0.7, label=name if seed == 0 else None)
    axes.set(xlim=(0, epochs), ylim=limits, xlabel="epoch")
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), frameon=False, labelcolor="linecolor")


def loss_range(lines: Sequence[Line]) -> tuple[float, float]:
    """Range of the losses without outliers, which would flatten all other values; it includes 0."""
    losses = [loss for line in lines for _, loss in line]
    if not losses:
        return 0.0, 1.0
    low, high = np.quantile(losses, [OUTLIERS, 1 - OUTLIERS])
    low, high = min(0.0, float(low)), max(0.0, float(high))
    return (low, high) if high > low else (low, low + 1.0)


if __name__ == "__main__":
    run_stage(main)
