"""Lines printed during long steps."""

import time

import pytest

from training import progress


def test_a_long_step_prints_how_long_it_has_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL_SECONDS", 0.01)
    with progress.heartbeat("opening flowers.tar"):
        while "opening flowers.tar: 0 s" not in capsys.readouterr().out:
            time.sleep(0.01)


def test_a_short_step_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.heartbeat("opening flowers.tar"):
        pass
    assert capsys.readouterr().out == ""
