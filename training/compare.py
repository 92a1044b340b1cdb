"""Comparison of two models on one page, reports/compare.html: samples, metrics, curves, parameters, cards.

    make compare A B
    python -m training.compare A B

A and B are ONNX files, model ids or their start, `candidate`, DVC experiments or Git revisions. The page is a single
file without scripts that requests nothing.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from serving.errors import MintError
from serving.files import atomic_write
from training import paths
from training.comparison.content import compare
from training.comparison.sources import find_model, known_models
from training.pages import environment
from training.pages.charts import COLOURS
from training.stage import run_stage

TEMPLATES = Path(__file__).parent / "comparison" / "templates"


def main(arguments: Sequence[str] = ()) -> None:
    """Write the page and print its path."""
    a, b = map(find_model, two_names(arguments or sys.argv[1:]))
    page = environment(TEMPLATES).get_template("compare.html.j2").render(comparison=compare(a, b), colours=COLOURS)
    with atomic_write(paths.COMPARISON) as part:
        part.write_text(page)
    print(f"compared {a.label} and {b.label}: {paths.COMPARISON.absolute().as_uri()}")


def two_names(arguments: Sequence[str]) -> Sequence[str]:
    """The two names on the command line. Raises MintError for any other number."""
    names = [name for name in arguments if name]
    if len(names) != 2:
        raise MintError(f"make compare takes two models: make compare A B; {known_models()}")
    return names


if __name__ == "__main__":
    run_stage(main)
