"""Outlook of a run: its state, the KID to expect, and what to do next, in words."""

from dataclasses import dataclass

import numpy as np

from training.doctor.advice import ADVICE
from training.doctor.diagnosis import HEALTHY, diagnose
from training.doctor.forecast import Forecast, forecast
from training.doctor.signs import GAIN, SMOOTHED
from training.doctor.trace import Trace, last_gain, overfitting, running

LONGER = 2.0  # the budget that the second forecast is for, in budgets
WORTHWHILE = 0.8  # a longer run is worth it when its expected KID is below this share of the present one's
QUIET_SHARE = 0.4  # of the run, in which nothing was gained: time to stop
FEW_IMAGES = 0.3  # r_v above which more images would help


@dataclass(frozen=True)
class Outlook:
    """State of a run, KIDs to expect, and what to do next."""

    state: str
    at_end: Forecast | None
    longer: Forecast | None  # after twice the budget
    next_steps: list[str]


def outlook(trace: Trace, end_kimg: float) -> Outlook:
    """Outlook at the end of a trace. end_kimg: thousands of images in the run's budget."""
    finding = diagnose(trace)
    at_end, longer = forecast(trace, end_kimg), forecast(trace, LONGER * end_kimg)
    steps = (
        []
        if finding is None
        else [f"{ADVICE[finding.name].meaning}: {step}" for step in ADVICE[finding.name].helps[:2]]
    )
    if at_end is not None and longer is not None and finding is None:
        steps += prospects(trace, at_end, longer)
    return Outlook(
        finding.name if finding else HEALTHY, at_end, longer, steps or ["nothing yet: there are too few probes"]
    )


def prospects(trace: Trace, at_end: Forecast, longer: Forecast) -> list[str]:
    """What more time and more images would give a healthy run."""
    steps = []
    if trace.kimg[-1] < at_end.kimg:
        steps.append(f"at the end of this run expect {at_end}")
    quiet = quiet_kimg(trace)
    if quiet > QUIET_SHARE * trace.kimg[-1]:
        steps.append(f"stop: nothing gained for {quiet:.0f} kimg")
    elif longer.kid < WORTHWHILE * at_end.kid:
        steps.append(f"more time will help: with twice the length expect {longer}")
    else:
        steps.append(f"more time will help little: with twice the length expect {longer}")
    r_v, _ = overfitting(trace)
    if len(r_v) and np.isfinite(r_v[-1]) and r_v[-1] > FEW_IMAGES:
        steps.append(
            f"more images would help: the discriminator knows the training images from others (r_v {r_v[-1]:.2f})"
        )
    return steps


def quiet_kimg(trace: Trace) -> float:
    """Thousands of images since the smoothed KID last fell clearly."""
    gained = last_gain(running(trace["kid"], SMOOTHED), GAIN)
    return float(trace.kimg[-1] - trace.kimg[gained[-1]])
