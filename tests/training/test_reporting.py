"""The progress display: time left, long steps, and a closed output."""

import io
import time

import pytest
import torch

from tests.training.project import Project
from training.reporting import ProgressDisplay, TrainingReport
from training.scalars import ExplosionError

SCALARS = {name: torch.tensor(0.5) for name in ("d_loss", "g_loss", "d_real", "d_fake", "penalty")}


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_a_line_shows_kimg_speed_losses_probabilities_and_time_left(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrainingReport(images_seen=0, progress=0.0) as report:
        report.add(SCALARS)
        report.show(1500, progress=1.0)
    parts = last_line(capsys).split("  ")
    assert parts[0] == "1.5 kimg"
    assert parts[1].endswith(" img/s")
    assert parts[2:] == ["loss D 0.50 G 0.50", "D(x) 0.50 D(G(z)) 0.50", "0:00 left"]


def test_the_time_left_is_known_after_the_first_step(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.reporting.FIRST_LINE_SECONDS", 0.0)
    with TrainingReport(images_seen=1000, progress=0.5) as report:
        report.add(SCALARS)
        report.show(1016, progress=0.500001)
    assert "--:--" not in last_line(capsys)


def test_a_loss_that_is_no_number_is_an_error_at_the_next_row_and_not_at_a_line_whose_time_varies(
    project: Project,
) -> None:
    with TrainingReport(images_seen=0, progress=0.0) as report:
        report.add(SCALARS | {"g_loss": torch.tensor(float("nan"))})
        report.show(16, progress=1.0)
        with pytest.raises(ExplosionError, match="training exploded: g_loss is not a number"):
            report.log(16)
        with pytest.raises(ExplosionError):
            report.pending()


def test_a_step_that_takes_long_is_reported_while_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    display = ProgressDisplay(max_silence=0.01)
    display.start()
    printed, deadline = "", time.monotonic() + 60
    while printed.count("\n") < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
        printed += capsys.readouterr().out
    display.stop()
    assert printed.splitlines()[:2] == ["this training step has taken 0 s so far"] * 2


def test_a_closed_output_is_noticed_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    display = ProgressDisplay()
    display.print("a line")
    assert display.closed
