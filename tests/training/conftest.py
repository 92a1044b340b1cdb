"""What the tests of the stages share: a project of their own in an empty folder."""

from pathlib import Path

import pytest

from tests.training.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty folder with a params.yaml, and the process in it."""
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)
