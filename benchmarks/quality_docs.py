"""Section of docs/gans.md on the quality benchmark, generated from its report so that the two cannot differ.

    python -m benchmarks.quality_docs

Without a report the section says that nothing is measured yet.
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
NOT_MEASURED = "Not measured yet with equal tuning: no preset is claimed to be better than another here.\n"
COLUMNS = ("kid", "fid", "precision", "recall", "kimg")
HEAD = "| preset | rates G / D, batch | KID | FID | precision | recall | kimg |\n|---|---|---|---|---|---|---|\n"

Settings = dict[str, Any]  # learning rates, batch size and "runs", as `quality` reports them
Report = dict[str, Any]


def read() -> Report | None:
    """Read the committed report; None without one."""
    if not REPORT.exists():
        return None
    report: Report = json.loads(REPORT.read_text())
    return report


def section(report: Report | None) -> str:
    """Section on a report, in Markdown."""
    if report is None:
        return NOT_MEASURED
    configs = report["recipes"]
    ranked = sorted(configs, key=lambda name: mean_of(configs[name]["tuned"], "kid") or float("inf"))
    lines = [
        f"{report['hardware']}, {report['training_seconds']:g} s of training, {seeds(report['seeds'])}, features of "
        f"{extractor(configs)}; the best pair of each preset's tuning, and below it its source's own settings, "
        "untuned.\n\n",
        HEAD,
    ]
    for name in ranked:
        lines.append(table_row(f"`{configs[name]['preset']}` ({name})", configs[name]["tuned"]))
        lines.append(table_row("its source's settings", configs[name]["source"]))
    return "".join([*lines, "\n", *(f"{claim}\n" for claim in claims(report))])


def seeds(count: int) -> str:
    """Seeds of the runs."""
    return "seed 1 alone" if count == 1 else f"means of seeds 1 to {count}"


def extractor(configs: dict[str, Any]) -> str:
    """Network whose features were compared; the same in every run."""
    runs = [run for settings in configs.values() for run in settings["tuned"]["runs"]]
    name: str = next(run["extractor"] for run in runs if "extractor" in run)
    return name


def table_row(label: str, settings: Settings) -> str:
    """One row: the mean of each figure over the seeds, KID with its standard deviation."""
    pair = f"{settings['generator_lr']:g} / {settings['discriminator_lr']:g}, {settings['batch']}"
    cells = [figure(settings, name) for name in COLUMNS]
    return f"| {label} | {pair} | {' | '.join(cells)} |\n"


def figure(settings: Settings, name: str) -> str:
    """One cell; a dash unless every run has the figure."""
    average = mean_of(settings, name)
    if average is None:
        return "-"
    digits = {"kid": 3, "precision": 2, "recall": 2}.get(name, 0)
    values = [run[name] for run in settings["runs"]]
    spread = f" +- {stdev(values):.3f}" if name == "kid" and len(values) > 1 else ""
    return f"{average:.{digits}f}{spread}"


def claims(report: Report) -> list[str]:
    """Sentences computed from the figures: the default against plain DCGAN, and against the best of the others."""
    configs = report["recipes"]
    tuned = {name: mean_of(configs[name]["tuned"], "kid") for name in configs}
    default, source = tuned["default"], mean_of(configs["dcgan"]["source"], "kid")
    if default is None:
        return ["The default did not train to the end in every run; nothing is claimed."]
    sentences = []
    if tuned["dcgan"] is not None:
        untuned = f", and {default / source:.2f} times that of plain DCGAN untuned" if source else ""
        tuned_alike = f"{default / tuned['dcgan']:.2f} times that of plain DCGAN, both tuned alike"
        sentences.append(f"The default's KID is {tuned_alike}{untuned}.")
    others = {name: kid for name, kid in tuned.items() if kid is not None and configs[name]["preset"] != "default"}
    if others:
        best = min(others, key=lambda name: others[name])
        sentences.append(
            f"The best of the others is {best}: the default's KID is {default / others[best]:.2f} times its."
        )
    return sentences


def mean_of(settings: Settings, name: str) -> float | None:
    """Mean of a figure over the seeds; None unless every run has it."""
    values = [run.get(name) for run in settings["runs"]]
    known = [value for value in values if value is not None]
    return mean(known) if values and len(known) == len(values) else None


def with_section(text: str, report: Report | None) -> str:
    """Replace the section between the two markers."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + section(report) + END + rest.split(END, 1)[1]


def write() -> None:
    """Write the section of docs/gans.md."""
    text = with_section(DOCS.read_text(), read())
    with atomic_write(DOCS) as path:
        path.write_text(text)


if __name__ == "__main__":
    write()
