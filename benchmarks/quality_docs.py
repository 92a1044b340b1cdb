"""The table and the claims of `make bench-quality` in docs/gans.md, written from its report so that they cannot differ.

python -m benchmarks.quality_docs     writes them again; without a report they say that nothing is measured yet
"""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from serving.files import atomic_write

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "reports" / "bench-quality.json"
DOCS = ROOT / "docs" / "gans.md"
BEGIN = "<!-- from reports/bench-quality.json: python -m benchmarks.quality_docs -->\n"
END = "<!-- end -->\n"
NOT_MEASURED = "Not measured yet with equal tuning: no recipe is claimed to be better than another here.\n"
COLUMNS = ("kid", "fid", "precision", "recall", "kimg")
HEAD = "| recipe | rates G / D, batch | KID | FID | precision | recall | kimg |\n|---|---|---|---|---|---|---|\n"

Settings = dict[str, Any]  # rates, batch and "runs" of a recipe, as `quality` reports them
Report = dict[str, Any]


def read() -> Report | None:
    """The committed report; None where there is none."""
    if not REPORT.exists():
        return None
    report: Report = json.loads(REPORT.read_text())
    return report


def section(report: Report | None) -> str:
    """What the documentation says of a report, in Markdown."""
    if report is None:
        return NOT_MEASURED
    recipes = report["recipes"]
    ranked = sorted(recipes, key=lambda name: mean_of(recipes[name]["tuned"], "kid") or float("inf"))
    lines = [
        f"{report['hardware']}, {report['training_seconds']:g} s of training, means of seeds 1 to {report['seeds']}; "
        "the best pair of each recipe's tuning, and below it its source's own settings, untuned.\n\n",
        HEAD,
    ]
    for name in ranked:
        lines.append(table_row(f"`{recipes[name]['preset']}` ({name})", recipes[name]["tuned"]))
        lines.append(table_row("its source's settings", recipes[name]["source"]))
    return "".join([*lines, "\n", *(f"{claim}\n" for claim in claims(report))])


def table_row(label: str, settings: Settings) -> str:
    """One line of the table: the mean over the seeds of each figure, KID with its standard deviation."""
    pair = f"{settings['generator_lr']:g} / {settings['discriminator_lr']:g}, {settings['batch']}"
    cells = [figure(settings, name) for name in COLUMNS]
    return f"| {label} | {pair} | {' | '.join(cells)} |\n"


def figure(settings: Settings, name: str) -> str:
    """A cell of the table; a dash where not every run has the figure."""
    average = mean_of(settings, name)
    if average is None:
        return "-"
    digits = {"kid": 3, "precision": 2, "recall": 2}.get(name, 0)
    values = [run[name] for run in settings["runs"]]
    spread = f" +- {stdev(values):.3f}" if name == "kid" and len(values) > 1 else ""
    return f"{average:.{digits}f}{spread}"


def claims(report: Report) -> list[str]:
    """Sentences that follow from the figures: the default beside plain DCGAN, and beside the best of the others."""
    recipes = report["recipes"]
    tuned = {name: mean_of(recipes[name]["tuned"], "kid") for name in recipes}
    default, source = tuned["default"], mean_of(recipes["dcgan"]["source"], "kid")
    if default is None:
        return ["The default did not train to the end in every run; nothing is claimed."]
    said = []
    if tuned["dcgan"] is not None:
        untuned = f", and {default / source:.2f} times that of plain DCGAN untuned" if source else ""
        alike = f"{default / tuned['dcgan']:.2f} times that of plain DCGAN, both tuned alike"
        said.append(f"The default's KID is {alike}{untuned}.")
    others = {
        name: found for name, found in tuned.items() if found is not None and recipes[name]["preset"] != "default"
    }
    if others:
        best = min(others, key=lambda name: others[name])
        said.append(f"The best of the others is {best}: the default's KID is {default / others[best]:.2f} times its.")
    return said


def mean_of(settings: Settings, name: str) -> float | None:
    """The mean of a figure over the seeds; None where a run could not be measured."""
    values = [run.get(name) for run in settings["runs"]]
    found = [value for value in values if value is not None]
    return mean(found) if values and len(found) == len(values) else None


def with_section(text: str, report: Report | None) -> str:
    """The documentation with what stands between the two marks written anew."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + section(report) + END + rest.split(END, 1)[1]


def write() -> None:
    """Writes the section of docs/gans.md."""
    text = with_section(DOCS.read_text(), read())
    with atomic_write(DOCS) as path:
        path.write_text(text)


if __name__ == "__main__":
    write()
