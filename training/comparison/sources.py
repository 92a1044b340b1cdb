"""Models by the names that users give them.

An ONNX file; `candidate`, or the id of the candidate, the served model or one before it; a DVC
experiment or a Git revision. The start of an id suffices.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from dvc.api import DVCFileSystem

from serving.error_messages import did_you_mean, quoted
from serving.errors import MintError
from serving.inference.model_files import read_model
from training import paths
from training.comparison.models import ComparedModel, onnx_model
from training.model_versions import CANDIDATE, SERVED, ModelVersion

T = TypeVar("T")

EXPERIMENT_REF = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)")  # DVC's: the baseline's commit, and the name
MIN_PREFIX = 4  # characters of an id
MAX_LISTED = 8  # names in an error message


def find_model(name: str) -> ComparedModel:
    """Find a model by its name. Raises MintError for a name that is not known, and for a model that cannot be used."""
    path = paths.expand_user_path(name)
    if path.is_file():
        return _file_model(name, version_of_file(path))
    if version := _only(name, known_versions()):
        return _file_model(name, version)
    if commit := find_commit(name):
        return _revision_model(name, commit)
    if name == "candidate":
        raise MintError("there is no candidate yet; `make train` makes one, or name another model")
    hint = did_you_mean(name, known_names(), otherwise=known_models())
    raise MintError(f"{quoted(name)} is no ONNX file, model id, experiment or revision; {hint}")


def version_of_file(path: Path) -> ModelVersion:
    """A model file with the metrics that belong to it: beside it, or in reports/ for the served model."""
    own = [version for version in (SERVED, CANDIDATE) if version.model.exists() and version.model.samefile(path)]
    return own[0] if own else ModelVersion.in_folder(path.parent, path.name)


def known_versions() -> dict[str, ModelVersion]:
    """List the models that are or were served, by id, and the candidate, by that name too."""
    kept = sorted(paths.HISTORY.glob(f"*/{paths.MODEL.name}"))
    versions = [*(ModelVersion.in_folder(path.parent) for path in kept), CANDIDATE, SERVED]
    found = {version.model_id: version for version in versions if version.model.exists()}
    return found | ({"candidate": CANDIDATE} if CANDIDATE.model.exists() else {})


def find_commit(name: str) -> str | None:
    """Find the commit of a DVC experiment or of a Git revision; of several experiments of one name, the newest."""
    return experiments().get(name) or _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")


def experiments() -> dict[str, str]:
    """Commits of the DVC experiments by name, oldest first."""
    refs = _git("for-each-ref", "--sort=committerdate", "--format=%(objectname) %(refname)", "refs/exps")
    found = {}
    for line in refs.splitlines():
        commit, _, ref = line.partition(" ")
        if match := EXPERIMENT_REF.fullmatch(ref):
            found[match[1]] = commit
    return found


def known_names() -> list[str]:
    """List what can be compared: the served model and the candidate, experiments from the newest on, and ids."""
    files = [str(version.model) for version in (SERVED, CANDIDATE) if version.model.exists()]
    return [*files, *reversed(experiments()), *known_versions()]


def known_models() -> str:
    """Name the first of what can be compared, for an error message."""
    known = known_names()
    more = ", ..." if len(known) > MAX_LISTED else ""
    return f"there are {', '.join(known[:MAX_LISTED])}{more}" if known else "train a model first: make train"


def read_project_file(path: Path) -> bytes | None:
    """Read a file of the checkout; None where it is missing."""
    return path.read_bytes() if path.exists() else None


def _only(name: str, known: Mapping[str, T]) -> T | None:
    """What an id or its start means, also at the end of a path. Raises MintError if it is the start of several."""
    start = name.rstrip("/").rpartition("/")[2]
    found = [key for key in known if len(start) >= MIN_PREFIX and key.startswith(start)]
    if len(found) > 1:
        raise MintError(f"{quoted(name)} is the start of {' and '.join(found)}; write more of it")
    return known[found[0]] if found else None


def _file_model(name: str, version: ModelVersion) -> ComparedModel:
    return onnx_model(name, f"file {version.model}", read_model(version.model), version, read_project_file)


def _revision_model(name: str, commit: str) -> ComparedModel:
    """The candidate of a commit, from DVC's cache, or if that has lost it the served model, from Git."""
    files = DVCFileSystem(rev=commit)

    def read(path: Path) -> bytes | None:
        try:
            content: bytes = files.read_bytes(path.as_posix())
        except FileNotFoundError:
            return None
        return content

    for version in (CANDIDATE, SERVED):
        if content := read(version.model):
            return onnx_model(name, f"{version.model} of commit {commit[:8]}", content, version, read)
    raise MintError(
        f"{quoted(name)} has no {CANDIDATE.model} in DVC's cache and no {SERVED.model} in Git; run it again"
    )


def _git(*arguments: str) -> str:
    """Output of a git command; empty if it fails, or without git."""
    git = shutil.which("git")
    return subprocess.run([git, *arguments], capture_output=True, text=True).stdout.strip() if git else ""
