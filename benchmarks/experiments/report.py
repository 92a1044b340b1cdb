"""Report of the experiments in reports/experiments/: an HTML page, the same in Markdown, curves and sample grids.

    python -m benchmarks.experiments.report

The page has no scripts and refers only to the files beside it; it is light or dark as the reader's system is.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from benchmarks.experiments.content import CURVES, Report, VariantFigures, compose
from benchmarks.experiments.results import GRIDS, RESULT, VariantResult
from benchmarks.experiments.settings import REPORT, RESULTS
from benchmarks.experiments.variants import all_variants
from serving.errors import MintError
from serving.files import atomic_write
from training.pages import environment
from training.pages.charts import COLOURS, Chart, Curve, Points, draw_svg, loss_range
from training.stage import run_stage

TEMPLATES = Path(__file__).parent / "templates"
NO_GRID = "Its first run diverged before there was a sample grid."
CURVES_SIZE = (640, 176)  # pixels


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
    templates = environment(TEMPLATES)
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
    lines = [line for of_seeds in losses.values() for line in of_seeds]
    left = Chart(_curves(losses), "epoch", (0, result.epochs), loss_range(lines))
    right = Chart(_curves(metrics), "epoch", (0, result.epochs), (0.0, 1.1))
    with atomic_write(path) as part:
        part.write_bytes(draw_svg([left, right], CURVES_SIZE))


def _curves(lines: Mapping[str, Sequence[Points]]) -> list[Curve]:
    """One curve per seed, in the colour of its name."""
    return [
        Curve(line, colour, name if seed == 0 else None)
        for colour, (name, of_seeds) in zip(COLOURS, lines.items(), strict=False)
        for seed, line in enumerate(of_seeds)
    ]


if __name__ == "__main__":
    run_stage(main)
