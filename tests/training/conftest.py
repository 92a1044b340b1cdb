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
def copy(trained: Path, project: Project) -> Project:
    """A copy of the project that the test file's fixture `trained` has made."""
    shutil.copytree(trained, project.folder, dirs_exist_ok=True)
    return project
