"""Fixtures of the training tests: a project in an empty folder."""

import shutil
from pathlib import Path

import pytest

from tests.training.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


@pytest.fixture
def no_run_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without their page, whose charts take as long as a tiny run; test_run_page.py and test_loop.py have it."""
    monkeypatch.setattr("training.loop.write_page", lambda *_: None)


@pytest.fixture
def copy(trained: Path, project: Project) -> Project:
    """A copy of the project that the test file's fixture `trained` has made."""
    shutil.copytree(trained, project.folder, dirs_exist_ok=True)
    return project
