"""Fixtures of the training tests: a project in an empty folder."""

from pathlib import Path

import pytest

from tests.training.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)
