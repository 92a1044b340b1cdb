"""Commands of `mint` that the training package adds: `mint doctor` on logs, and where there is no such package."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from serving import cli

ROWS = 30


def run(patch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Exit status of `mint` with these arguments, or its error."""
    patch.setattr(sys, "argv", ["mint", *arguments])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    return exited.value.code


def write_log(path: Path, fid: float) -> Path:
    """A log of thirty rows: losses that stay where they are, and an FID that ends at `fid`."""
    rows = [f"{100 * row},1.3,0.8,{100 + (fid - 100) * row / (ROWS - 1):.1f}" for row in range(ROWS)]
    path.write_text("\n".join(["Iteration,errD,errG,score", *rows]))
    return path


def test_the_doctor_says_what_a_log_holds_and_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = str(write_log(tmp_path / "log.csv", fid=300))
    assert run(monkeypatch, "doctor", log, "--column", "fid=score") == 0
    first, best, finding, meaning, helps = capsys.readouterr().out.splitlines()
    assert first == (f"{log}: 30 rows, steps 0 to 2,900; fid (score), step (Iteration), d_loss (errD), g_loss (errG)")
    assert best == "best FID 100 at step 0, now 300"
    assert " since step " in finding
    assert "confidence" in finding
    assert meaning
    assert "what helps, mildest first: " in helps


def test_the_doctor_finds_nothing_wrong_with_a_log_that_gets_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = str(write_log(tmp_path / "log.csv", fid=20))
    assert run(monkeypatch, "doctor", log, "--column", "fid=score") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("healthy: ")


def test_a_log_that_cannot_be_read_is_an_error_of_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = run(monkeypatch, "doctor", str(tmp_path / "nothing.csv"))
    assert str(code).startswith("error: ")
    assert "nothing.csv does not exist" in str(code)
    assert "\n" not in str(code)


def test_mint_works_where_the_training_package_is_missing_as_in_the_container_image(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = EntryPoint("nothing", "not_installed.commands:nothing", cli.COMMANDS)
    monkeypatch.setattr(cli, "entry_points", lambda group: [missing])
    assert run(monkeypatch, "--help") == 0
    assert "generate" in capsys.readouterr().out
