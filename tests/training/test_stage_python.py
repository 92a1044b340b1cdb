"""training/python: the stages of dvc.yaml run with the project's Python whatever is on the PATH."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DVC_YAML = {
    "stages": {"where": {"cmd": 'exec training/python -c "import sys; print(sys.prefix)" > prefix', "outs": ["prefix"]}}
}
BARE = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), "SHELL": "/bin/sh"}  # as a fresh shell


def run(*command: str, folder: Path) -> None:
    ran = subprocess.run(command, cwd=folder, env=BARE, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one stage that writes the prefix of its Python."""
    folder = tmp_path / "a checkout"
    (folder / "training").mkdir(parents=True)
    shutil.copy(ROOT / "training/python", folder / "training")
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    (folder / "dvc.yaml").write_text(yaml.safe_dump(DVC_YAML))
    (folder / ".gitignore").write_text(".venv\n")
    author = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    run("git", "init", "-q", folder=folder)
    run("git", "add", "-A", folder=folder)
    run("git", *author, "commit", "-q", "-m", "first", folder=folder)
    return folder


def prefix(folder: Path) -> str:
    """The environment that the stage ran in."""
    return (folder / "prefix").read_text().strip()


def test_a_stage_runs_in_the_environment_of_its_checkout(checkout: Path) -> None:
    (checkout / ".venv").symlink_to(sys.prefix)
    run(".venv/bin/dvc", "repro", folder=checkout)
    assert prefix(checkout) == str(checkout / ".venv")


def test_a_stage_in_a_temporary_checkout_runs_in_the_environment_of_the_main_one(checkout: Path) -> None:
    (checkout / ".venv").symlink_to(sys.prefix)
    run(".venv/bin/python", "-m", "dvc", "exp", "run", "--temp", "--name", "temporary", folder=checkout)
    run(".venv/bin/dvc", "exp", "apply", "temporary", folder=checkout)
    assert prefix(checkout) == str(checkout / ".venv")


def test_a_stage_without_an_environment_of_its_own_runs_in_that_of_dvc(checkout: Path) -> None:
    worktree = checkout.parent / "a worktree"
    run("git", "worktree", "add", "-q", "-b", "other", str(worktree), folder=checkout)
    run(sys.executable, "-m", "dvc", "repro", folder=worktree)
    assert prefix(worktree) == sys.prefix
