"""From the results of all seeds to the cells of a table, and to sentences where the numbers carry them."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.experiments.results import EvalPoint, SeedResult, VariantResult, spread

WATCHED_EPOCH = 35  # by which the source's DCGAN had collapsed
COLLAPSED_COVERAGE = 0.5  # of the classes or fewer, or
COLLAPSED_DIVERSITY = 0.5  # of the real images' diversity or less
RECOGNISABLE_COVERAGE = 0.5  # of the classes or more, and
RECOGNISABLE_PRECISION = 0.1  # of the samples or more within the real images' neighbourhood


def at_watched_epoch(seed: SeedResult) -> EvalPoint | None:
    """The last look up to epoch 35; None where the run had exploded by then."""
    if seed.exploded_at is not None and seed.exploded_at <= WATCHED_EPOCH:
        return None
    return max((look for look in seed.looks if look.epoch <= WATCHED_EPOCH), key=lambda look: look.epoch, default=None)


def collapsed(seed: SeedResult) -> float | None:
    """1 where few classes are left at epoch 35, or images hardly differ; 0 where neither."""
    look = at_watched_epoch(seed)
    if look is None:
        return None
    return float(look.coverage <= COLLAPSED_COVERAGE or look.diversity <= COLLAPSED_DIVERSITY)


def recognisable(seed: SeedResult) -> float | None:
    """The first epoch with a look that shows samples which can be told; None where there is none."""
    for look in seed.looks:
        if look.coverage >= RECOGNISABLE_COVERAGE and look.precision >= RECOGNISABLE_PRECISION:
            return float(look.epoch)
    return None


def seen_until_recognisable(seed: SeedResult) -> float | None:
    """The same in images seen, which compares across data of different sizes; an epoch drops less than a batch."""
    epoch = recognisable(seed)
    return None if epoch is None else epoch * seed.images


def _measure(name: str) -> Callable[[SeedResult], float | None]:
    return lambda seed: seed.measures.get(name)


def _look(name: Literal["coverage", "diversity"]) -> Callable[[SeedResult], float | None]:
    def value(seed: SeedResult) -> float | None:
        look = at_watched_epoch(seed)
        return None if look is None else float(getattr(look, name))

    return value


@dataclass(frozen=True)
class Column:
    """A figure of every run. `value` is None where a run has none, because it exploded or never got there."""

    title: str
    value: Callable[[SeedResult], float | None]
    digits: int = 2
    better: Literal["higher", "lower"] | None = None
    real: str | None = None  # the measure that says what real images score
    counts: bool = False  # whether the table says in how many runs it is so


def _coverage(seed: SeedResult) -> float | None:
    return seed.looks[-1].coverage if seed.exploded_at is None else None


COLUMNS = {
    "kid": Column("KID", _measure("kid"), 3, "lower", "kid"),
    "precision": Column("precision (yield)", _measure("precision"), 2, "higher", "precision"),
    "recall": Column("recall", _measure("recall"), 3, "higher", "recall"),
    "diversity": Column("diversity", _measure("diversity"), 2, "higher", "diversity"),
    "coverage": Column("classes covered", _coverage, 2, "higher"),
    "steps": Column("generator steps", lambda seed: float(seed.steps), 0),
    "step_ms": Column("ms a step", lambda seed: seed.step_ms, 1, "lower"),
    "images_per_second": Column("images/s trained", lambda seed: seed.images_per_second, 0, "higher"),
    "sampled_per_second": Column("images/s sampled", lambda seed: seed.sampled_per_second, 0, "higher"),
    "recognisable": Column("first recognisable epoch", recognisable, 1, "lower"),
    "seen_until_recognisable": Column("images seen until recognisable", seen_until_recognisable, 0, "lower"),
    "source_image_ms": Column("source's network, ms an image", lambda seed: seed.source_image_ms, 0, "lower"),
    "collapsed": Column(f"collapsed at epoch {WATCHED_EPOCH}", collapsed, counts=True),
    "coverage_at_35": Column(f"classes covered at {WATCHED_EPOCH}", _look("coverage"), 2, "higher"),
    "diversity_at_35": Column(f"diversity at {WATCHED_EPOCH}", _look("diversity"), 2, "higher"),
}


def values(result: VariantResult, column: str) -> list[float]:
    """The figure of every run that has it."""
    found = (COLUMNS[column].value(seed) for seed in result.seeds)
    return [value for value in found if value is not None]


def cell(result: VariantResult, column: str) -> str:
    """Mean and standard deviation, and over how many runs where not over all: `0.41 ± 0.03`."""
    found, runs = values(result, column), len(result.seeds)
    digits = COLUMNS[column].digits
    if COLUMNS[column].counts:
        return f"{sum(found):.0f} of {len(found)}" if found else "exploded"
    over = spread(found)
    if over is None:
        return "none"
    text = number(over.mean, digits)
    if over.deviation is not None:
        text += f" ± {number(over.deviation, digits)}"
    alone = column == "source_image_ms"  # timed once, for seed 0
    return text if len(found) == runs or alone else f"{text} ({len(found)} of {runs})"


def number(value: float, digits: int) -> str:
    """With so many digits after the point, and commas between thousands; never a negative zero."""
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if math.isclose(float(text.replace(",", "")), 0) else text


def sentence(labelled: Sequence[tuple[str, VariantResult]], column: str) -> str | None:
    """Which variant leads in a figure; None where nothing can be said.

    It leads when its mean and standard deviation overlap with no other's. Variants of which a run has no figure
    are left out, and the sentence says so.
    """
    shown = COLUMNS[column]
    whole = [
        (label, found)
        for (label, result) in labelled
        if len(found := values(result, column)) == len(result.seeds) and len(found) > 1
    ]
    if len(whole) < 2 or shown.better is None:
        return None
    bands = [(label, statistics.fmean(found), statistics.stdev(found)) for label, found in whole]
    bands.sort(key=lambda band: band[1], reverse=shown.better == "higher")
    (best, mean, deviation), others = bands[0], bands[1:]
    near = [label for label, other, scatter in others if abs(other - mean) <= deviation + scatter]
    among = "" if len(whole) == len(labelled) else ", among those with a figure from every run"
    if len(near) == len(others):
        return f"No variant stands out in {shown.title}{among}."
    quoted = ", ".join(f'"{label}"' for label in near)  # some hold commas of their own
    tied = f", which overlaps with {quoted}" if near else ""
    superlative = "Highest" if shown.better == "higher" else "Lowest"
    return f"{superlative} {shown.title}{among}: {best} ({number(mean, shown.digits)}){tied}."


def wall_seconds(results: Sequence[VariantResult]) -> float:
    """How long at least one run was going on: runs side by side, and those that variants share, count once."""
    spans = sorted({(seed.began, seed.began + seed.seconds) for result in results for seed in result.seeds})
    total, covered = 0.0, 0.0
    for began, ended in spans:
        total += max(0.0, ended - max(began, covered))
        covered = max(covered, ended)
    return total
