"""The results of all variants become reports/experiments/: a page, the same in Markdown, curves and sheets.

python -m benchmarks.experiments.report
"""

import shutil
from html import escape
from pathlib import Path

from PIL import Image

from benchmarks.experiments import chart, files, markdown, page
from benchmarks.experiments.content import Report, compose
from benchmarks.experiments.results import RESULT, SHEETS, VariantResult
from benchmarks.experiments.settings import REPORT, RESULTS
from benchmarks.experiments.variants import all_variants
from serving.errors import MintError
from serving.files import atomic_write
from training.stage import run_stage


def main() -> None:
    """Writes the report on all variants that were run."""
    report = write_report(RESULTS, REPORT)
    variants = sum(len(section.figures) for section in report.sections)
    print(f"reported {variants} of {len(all_variants())} variants in {REPORT / 'index.html'}")


def write_report(results: Path, folder: Path) -> Report:
    """Makes the folder from the results. Raises MintError where there are none."""
    found = read_results(results)
    report = compose(found)
    for old in (folder / files.SHEETS, folder / files.CURVES):
        shutil.rmtree(old, ignore_errors=True)
        old.mkdir(parents=True)
    sides = {}
    for section in report.sections:
        for figure in section.figures:
            name = figure.result.name
            for epoch in figure.result.sheet_epochs:
                path = files.sheet_path(name, epoch)
                shutil.copy(results / name / SHEETS / f"epoch-{epoch:04d}.png", folder / path)
                with Image.open(folder / path) as picture:
                    sides[str(path)] = picture.size
            svg = chart.variant_svg(figure.result, escape(figure.label), standalone=True)
            (folder / files.curve_path(name)).write_text(svg + "\n")
    for name, text in (("README.md", markdown.render(report)), ("index.html", page.render(report, sides))):
        with atomic_write(folder / name) as part:
            part.write_text(text)
    return report


def read_results(folder: Path) -> dict[str, VariantResult]:
    """The results by variant, in the table's order. Raises MintError where there are none."""
    found = {
        variant.name: VariantResult.model_validate_json((folder / variant.name / RESULT).read_bytes())
        for variant in all_variants()
        if (folder / variant.name / RESULT).exists()
    }
    if not found:
        raise MintError(f"{folder} holds no results; run dvc repro experiments/dvc.yaml")
    return found


if __name__ == "__main__":
    run_stage(main)
