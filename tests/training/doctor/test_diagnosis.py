"""Diagnoses of recorded runs: small GANs on Fashion-MNIST, each made to fail in one way, and healthy ones.

traces/ holds the rows of their probes, as `make bench-doctor` recorded them, with what the signs of failure look at.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.doctor.diagnosis import RULES, diagnose
from training.doctor.outlook import outlook
from training.doctor.signs import quiet
from training.doctor.trace import Trace

TRACES = Path(__file__).parent / "traces"
FAILURES = {
    "discriminator-rate-x-50": "discriminator dominates",
    "generator-rate-x-50": "mode collapse",
    "latent-1": "partial collapse",
    "quarter-width-discriminator": "generator dominates",
    "200-images": "discriminator overfits",
    "rates-x-5": "oscillation",
    "nan": "explosion",
    "no-batch-norm": "mode collapse",
    "shuffled-labels": "labels do not match",
}
HEALTHY = ("default", "rpgan", "200-images-diffaugment")


def recorded(name: str) -> Trace:
    return Trace([json.loads(line) for line in (TRACES / f"{name}.jsonl").read_text().splitlines()])


def first_finding(trace: Trace) -> tuple[str, int] | None:
    """The first diagnosis as the trace grew, and the row of it."""
    for count in range(1, len(trace) + 1):
        finding = diagnose(trace.until(count))
        if finding is not None:
            return finding.name, count
    return None


def made_up(rows: int, **measurements: Callable[[int], float]) -> Trace:
    return Trace(
        [{"kimg": 10.0 * (row + 1)} | {name: of(row) for name, of in measurements.items()} for row in range(rows)]
    )


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_run_is_diagnosed_by_half_of_its_budget(name: str) -> None:
    found = first_finding(recorded(name))
    assert found is not None
    assert found[0] == FAILURES[name]
    assert found[1] <= 10  # of 20 rows


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_raises_no_alarm(name: str) -> None:
    assert first_finding(recorded(name)) is None


def test_a_diagnosis_has_its_time_confidence_and_evidence() -> None:
    trace = recorded("200-images")
    early, late = diagnose(trace.until(11)), diagnose(trace.until(14))
    assert early is not None
    assert late is not None
    assert early.since == late.since < trace.kimg[10]
    assert 0.5 <= early.confidence < late.confidence < 1
    assert any(text.startswith("d_held_out_logit ") for text in early.evidence)


def test_nothing_later_changes_a_diagnosis() -> None:
    """Signs use the past alone, so a run is diagnosed while it goes on as it would be afterwards."""
    trace = recorded("generator-rate-x-50")
    for rule in RULES:
        with np.errstate(invalid="ignore"):
            whole = rule.sign(trace)
            for count in (3, 8, 15):
                np.testing.assert_array_equal(rule.sign(trace.until(count)), whole[:count])


def test_an_empty_trace_and_one_without_measurements_are_healthy() -> None:
    assert diagnose(Trace([])) is None
    assert first_finding(Trace([{"kimg": float(row)} for row in range(1, 60)])) is None


def test_confident_scores_are_domination() -> None:
    found = first_finding(made_up(10, d_real=lambda row: 0.99, d_fake=lambda row: 0.01))
    assert found == ("discriminator dominates", 3)


def test_a_fid_that_rises_again_is_oscillation() -> None:
    assert first_finding(made_up(30, fid=lambda row: 100 - 6 * row if row < 15 else 10 + 3 * (row - 15))) is not None
    assert first_finding(made_up(30, fid=lambda row: 100 * 0.9**row)) is None


def test_large_gradients_are_an_explosion_only_when_they_last() -> None:
    lasting = made_up(10, g_gradient=lambda row: 150.0)
    assert first_finding(lasting) == ("explosion", 3)
    assert first_finding(made_up(10, g_gradient=lambda row: 150.0 if row % 3 == 0 else 5.0)) is None


def test_near_copies_are_memorising() -> None:
    assert first_finding(made_up(10, copies=lambda row: 0.5)) == ("memorising", 3)


def test_nothing_gained_for_half_of_the_run_is_a_plateau() -> None:
    flat = made_up(24, kid=lambda row: max(0.2, 1.0 - 0.1 * row))
    assert first_finding(flat) == ("plateau", 22)
    assert not (quiet(made_up(24, kid=lambda row: 0.9**row)) >= 1).any()
    assert not (quiet(made_up(24, d_loss=lambda row: 1.0)) >= 1).any()


def test_the_outlook_of_a_healthy_run_says_whether_more_time_or_images_help() -> None:
    falling = outlook(made_up(12, kid=lambda row: (row + 1) ** -0.9), 240)
    assert falling.state == "healthy"
    assert falling.at_end is not None
    assert falling.longer is not None
    assert falling.longer.kid < falling.at_end.kid
    assert any("more time will help: " in step for step in falling.next_steps)
    scores = {"d_training_logit": 2.0, "d_held_out_logit": 1.2, "d_generated_logit": -0.5}
    overfitting = made_up(
        12, kid=lambda row: (row + 1) ** -0.9, **{name: lambda row, v=v: v for name, v in scores.items()}
    )
    assert any("more images would help" in step for step in outlook(overfitting, 240).next_steps)
    quiet_run = outlook(made_up(17, kid=lambda row: max(0.3, 1.0 - 0.1 * row)), 300)
    assert any(step.startswith("stop: nothing gained for") for step in quiet_run.next_steps)


def test_the_outlook_of_a_failing_run_says_what_helps() -> None:
    view = outlook(recorded("generator-rate-x-50"), 32)
    assert view.state == "mode collapse"
    assert any("lower both learning rates" in step for step in view.next_steps)
