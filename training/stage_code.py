"""Code dependencies of each stage, read from the `deps` of dvc.yaml, and their digest.

DVC reruns a stage when one of these files changes; runs in .runs/, the prepared data and benchmark results are cached
under the digest of the same files.
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
DVC_YAML = ROOT / "dvc.yaml"
PACKAGES = ("training", "serving")


def code_files(stage: str) -> list[Path]:
    """List the Python files among the deps of a stage, including those in folders, sorted."""
    deps = [path for path in _stages()[stage]["deps"] if path.split("/")[0] in PACKAGES]
    return sorted(file for path in deps for file in _python_files(ROOT / path))


def code_digest(*stages: str) -> str:
    """Return the hexadecimal SHA-256 of the names and contents of the code of these stages."""
    return files_digest(file for stage in stages for file in code_files(stage))


def files_digest(files: Iterable[Path]) -> str:
    """Return the hexadecimal SHA-256 of the names and contents of files of the repository, and of those in folders."""
    digest = hashlib.sha256()
    for file in sorted({file for path in files for file in _python_files(path)}):
        digest.update(f"{file.relative_to(ROOT).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _python_files(path: Path) -> list[Path]:
    return list(path.rglob("*.py")) if path.is_dir() else [path]


@cache
def _stages() -> dict[str, dict[str, list[str]]]:
    stages: dict[str, dict[str, list[str]]] = yaml.safe_load(DVC_YAML.read_text())["stages"]
    return stages
