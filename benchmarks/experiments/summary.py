"""Summary statistics of the experiments: table columns, their cells as mean ± deviation, and the best variant."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.experiments.results import Evaluation, SeedResult, VariantResult

COLLAPSE_EPOCH = 35  # by which the source's DCGAN had collapsed
COLLAPSED_COVERAGE = 0.5  # of the classes or fewer, or
COLLAPSED_DIVERSITY = 0.5  # of the real images' diversity or less
RECOGNISABLE_COVERAGE = 0.5  # of the classes or more, and
RECOGNISABLE_PRECISION = 0.1  # of the samples or more within the real images' neighbourhood


@dataclass(frozen=True)
class Column:
    """Figure of a run. `value` is None for a run without it, which diverged or never reached it."""

    title: str
    value: Callable[[SeedResult], float | None]
    digits: int = 2
    better: Literal["higher", "lower"] | None = None
    real: str | None = None  # the metric of real images to show beside it
    counts: bool = False  # shown as the number of runs for which it is 1


def at_collapse_epoch(seed: SeedResult) -> Evaluation | None:
    """The last evaluation up to COLLAPSE_EPOCH; None for a run that had diverged by then."""
    if seed.diverged_at is not None and seed.diverged_at <= COLLAPSE_EPOCH:
        return None
    early = (evaluation for evaluation in seed.evaluations if evaluation.epoch <= COLLAPSE_EPOCH)
    return max(early, key=lambda evaluation: evaluation.epoch, default=None)


def collapsed(seed: SeedResult) -> float | None:
    """1 where few classes are left at COLLAPSE_EPOCH or images hardly differ, else 0."""
    evaluation = at_collapse_epoch(seed)
    if evaluation is None:
        return None
    return float(evaluation.coverage <= COLLAPSED_COVERAGE or evaluation.diversity <= COLLAPSED_DIVERSITY)


def recognisable(seed: SeedResult) -> float | None:
    """The first evaluated epoch with recognisable samples; None where there is none."""
    for evaluation in seed.evaluations:
        if evaluation.coverage >= RECOGNISABLE_COVERAGE and evaluation.precision >= RECOGNISABLE_PRECISION:
            return float(evaluation.epoch)
    return None


def seen_until_recognisable(seed: SeedResult) -> float | None:
    """The same in images seen, which compares across dataset sizes; each epoch drops less than a batch."""
    epoch = recognisable(seed)
    return None if epoch is None else epoch * seed.images


def _metric(name: str) -> Callable[[SeedResult], float | None]:
    return lambda seed: seed.metrics.get(name)


def _at_collapse_epoch(name: Literal["coverage", "diversity"]) -> Callable[[SeedResult], float | None]:
    def value(seed: SeedResult) -> float | None:
        evaluation = at_collapse_epoch(seed)
        return None if evaluation is None else float(getattr(evaluation, name))

    return value


def _final_coverage(seed: SeedResult) -> float | None:
    return seed.evaluations[-1].coverage if seed.diverged_at is None else None


COLUMNS = {
    "kid": Column("KID", _metric("kid"), 3, "lower", "kid"),
    "precision": Column("precision (yield)", _metric("precision"), 2, "higher", "precision"),
    "recall": Column("recall", _metric("recall"), 3, "higher", "recall"),
    "diversity": Column("diversity", _metric("diversity"), 2, "higher", "diversity"),
    "coverage": Column("classes covered", _final_coverage, 2, "higher"),
    "steps": Column("generator steps", lambda seed: float(seed.steps), 0),
    "step_ms": Column("ms a step", lambda seed: seed.step_ms, 1, "lower"),
    "images_per_second": Column("images/s trained", lambda seed: seed.images_per_second, 0, "higher"),
    "sampled_per_second": Column("images/s sampled", lambda seed: seed.sampled_per_second, 0, "higher"),
    "recognisable": Column("first recognisable epoch", recognisable, 1, "lower"),
    "seen_until_recognisable": Column("images seen until recognisable", seen_until_recognisable, 0, "lower"),
    "source_image_ms": Column("source's network, ms an image", lambda seed: seed.source_image_ms, 0, "lower"),
    "collapsed": Column(f"collapsed at epoch {COLLAPSE_EPOCH}", collapsed, counts=True),
    "coverage_at_35": Column(f"classes covered at {COLLAPSE_EPOCH}", _at_collapse_epoch("coverage"), 2, "higher"),
    "diversity_at_35": Column(f"diversity at {COLLAPSE_EPOCH}", _at_collapse_epoch("diversity"), 2, "higher"),
}


def values(result: VariantResult, column: str) -> list[float]:
    """Figures of all runs that have one."""
    figures = (COLUMNS[column].value(seed) for seed in result.seeds)
    return [figure for figure in figures if figure is not None]


def cell(result: VariantResult, column: str) -> str:
    """Mean and sample standard deviation, and the number of runs unless all have the figure: `0.41 ± 0.03`."""
    figures, runs = values(result, column), len(result.seeds)
    digits = COLUMNS[column].digits
    if COLUMNS[column].counts:
        return f"{sum(figures):.0f} of {len(figures)}" if figures else "diverged"
    if not figures:
        return "none"
    text = number(statistics.fmean(figures), digits)
    if len(figures) > 1:
        text += f" ± {number(statistics.stdev(figures), digits)}"
    timed_once = column == "source_image_ms"  # for seed 0
    return text if len(figures) == runs or timed_once else f"{text} ({len(figures)} of {runs})"


def number(value: float, digits: int) -> str:
    """Format with so many decimals and commas between thousands, and never as a negative zero."""
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if math.isclose(float(text.replace(",", "")), 0) else text


def best_variant(labelled: Sequence[tuple[str, VariantResult]], column: str) -> str | None:
    """Sentence on the best variant in a figure; None where variants cannot be compared.

    It is best when its mean and standard deviation overlap with no other's. Variants with a run that lacks the figure
    are left out, and the sentence says so.
    """
    shown = COLUMNS[column]
    complete = [
        (label, figures)
        for (label, result) in labelled
        if len(figures := values(result, column)) == len(result.seeds) and len(figures) > 1
    ]
    if len(complete) < 2 or shown.better is None:
        return None
    bands = [(label, statistics.fmean(figures), statistics.stdev(figures)) for label, figures in complete]
    bands.sort(key=lambda band: band[1], reverse=shown.better == "higher")
    (best, mean, deviation), others = bands[0], bands[1:]
    overlapping = [label for label, other, spread in others if abs(other - mean) <= deviation + spread]
    among = "" if len(complete) == len(labelled) else ", among those with a figure from every run"
    if len(overlapping) == len(others):
        return f"No variant stands out in {shown.title}{among}."
    quoted = ", ".join(f'"{label}"' for label in overlapping)  # some labels contain commas
    tied = f", which overlaps with {quoted}" if overlapping else ""
    superlative = "Highest" if shown.better == "higher" else "Lowest"
    return f"{superlative} {shown.title}{among}: {best} ({number(mean, shown.digits)}){tied}."


def wall_seconds(results: Sequence[VariantResult]) -> float:
    """Wall time during which at least one run was in progress; concurrent and shared runs count once."""
    spans = sorted({(seed.started_at, seed.started_at + seed.seconds) for result in results for seed in result.seeds})
    total, covered = 0.0, 0.0
    for started, ended in spans:
        total += max(0.0, ended - max(started, covered))
        covered = max(covered, ended)
    return total
