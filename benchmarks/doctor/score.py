"""Scores of the doctor on recorded runs: detection, right names, false alarms and the time of the alarm."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.doctor.recipes import RECIPES, Recipe
from training.doctor.diagnosis import HEALTHY, diagnose
from training.doctor.trace import Trace

Z95 = 1.96  # standard deviations of a 95% interval


@dataclass(frozen=True)
class Outcome:
    """What the doctor said of one run. name: of its first alarm; share: of the budget at that time."""

    recipe: Recipe
    data: str
    seed: int
    name: str
    share: float | None

    @property
    def alarmed(self) -> bool:
        """True if the doctor found anything."""
        return self.name != HEALTHY

    @property
    def right(self) -> bool:
        """True if the name is one of those that the recipe is expected to have."""
        return self.name in self.recipe.names


@dataclass(frozen=True)
class Rate:
    """A share with its 95% interval (Wilson 1927)."""

    hits: int
    count: int

    @property
    def share(self) -> float:
        """hits / count; NaN for none."""
        return self.hits / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the interval."""
        if not self.count:
            return 0.0, 1.0
        n, p, z = self.count, self.share, Z95
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.0%} ({self.hits} of {self.count}; {low:.0%} to {high:.0%})"


def outcome(record: dict[str, Any]) -> Outcome:
    """Diagnose a recorded run row by row, as it was when each was written, until the first alarm."""
    trace = Trace(record["rows"])
    recipe = RECIPES[record["recipe"]]
    for count in range(1, len(trace) + 1):
        finding = diagnose(trace.until(count))
        if finding is not None:
            share = trace.kimg[count - 1] / record["budget_kimg"]
            return Outcome(recipe, record["data"], record["seed"], finding.name, float(share))
    return Outcome(recipe, record["data"], record["seed"], HEALTHY, None)


@dataclass(frozen=True)
class Scores:
    """Scores over some runs."""

    detection: Rate  # failing runs with an alarm
    naming: Rate  # of those, with a right name
    false_alarms: Rate  # healthy runs with an alarm
    alarm_share: float  # median share of the budget at the alarm of failing runs

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> "Scores":
        """Count."""
        failing = [each for each in outcomes if not each.recipe.healthy]
        healthy = [each for each in outcomes if each.recipe.healthy]
        detected = [each for each in failing if each.alarmed]
        shares = [each.share for each in detected if each.share is not None]
        return cls(
            Rate(len(detected), len(failing)),
            Rate(sum(each.right for each in detected), len(detected)),
            Rate(sum(each.alarmed for each in healthy), len(healthy)),
            median(shares) if shares else math.nan,
        )


def confusion(outcomes: Sequence[Outcome]) -> dict[str, Counter[str]]:
    """Recipe -> names of the first alarms, and how often each."""
    table: dict[str, Counter[str]] = {}
    for each in outcomes:
        table.setdefault(each.recipe.name, Counter())[each.name] += 1
    return table
