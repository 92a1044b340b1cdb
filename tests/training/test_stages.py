"""Nothing is stale: every stage is run again when a module changes that shapes what it leaves."""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DVC_STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Imported everywhere, shapes no output: what refuses, tells, locks, and how a file gets to the disk.
INERT = {
    "serving/__init__.py",
    "serving/errors.py",
    "serving/files.py",
    "training/__init__.py",
    "training/param_rules.py",
    "training/lock.py",
    "training/paths.py",
    "training/progress.py",
    "training/stage.py",
    "training/stage_code.py",
    "training/data/summary.py",
    "training/system_errors.py",
}


def file_of(module: str) -> str | None:
    """The file of one of our modules, relative to the repository; None for other modules and empty packages."""
    stem = ROOT.joinpath(*module.split("."))
    found = next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)
    if found is None or module.split(".")[0] not in ("training", "serving") or not has_code(found):
        return None
    return found.relative_to(ROOT).as_posix()


def has_code(path: Path) -> bool:
    """Whether a module holds more than its docstring."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)


def names_in(file: str) -> Iterable[str]:
    """Every module that a file may import, and the packages they are in."""
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            wanted = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in wanted:
            parts = name.split(".")
            yield from (".".join(parts[: length + 1]) for length in range(len(parts)))


@cache
def files_behind(stage: str) -> frozenset[str]:
    """Every file of ours that shapes what a stage leaves: its own and all that they import, directly or not."""
    found: set[str] = set()
    new = {f"training/{stage}.py"}
    while new:
        found |= new
        new = {file for known in new for name in names_in(known) if (file := file_of(name))} - found - INERT
    return frozenset(found)


def covered(file: str, by: Iterable[str]) -> bool:
    """Whether a file is among some paths, or in one that is a folder."""
    return any(file == path or file.startswith(f"{path}/") for path in by)


@pytest.mark.parametrize("stage", ["preprocess", "train", "export", "evaluate"])
def test_a_stage_depends_on_every_module_that_it_imports_and_on_no_other(stage: str) -> None:
    listed = [path for path in DVC_STAGES[stage]["deps"] if path.split("/")[0] in ("training", "serving")]
    imported = files_behind(stage)
    missing = {file for file in imported if not covered(file, listed)}
    assert not missing, f"add to the deps of {stage} in dvc.yaml: {sorted(missing)}"
    useless = {path for path in listed if not any(covered(file, [path]) for file in imported)}
    assert not useless, f"remove from the deps of {stage} in dvc.yaml: {sorted(useless)}"
