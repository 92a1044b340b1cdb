"""The `deps` and `params` of every DVC stage, compared with the code and the parameters that the stage reads.

Both are found statically: imports are followed from the stage's module, and in each module on the way the reads of
`params.<section>.<key>` are collected. So a branch that no test runs counts too.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache, reduce
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from benchmarks.experiments.settings import ExperimentSettings
from training import stage_code
from training.params import Params

ROOT = Path(__file__).parents[2]
PACKAGES = ("training", "serving", "benchmarks")
PIPELINES = ("dvc.yaml", "experiments/dvc.yaml")
STAGES: dict[str, dict[str, Any]] = {
    f"{pipeline}:{name}": stage
    for pipeline in PIPELINES
    for name, stage in yaml.safe_load((ROOT / pipeline).read_text())["stages"].items()
}
# Imported by many stages, shapes no output: validation, errors, locks, console output, atomic writes.
INERT = {
    "serving/__init__.py",
    "serving/error_messages.py",
    "serving/errors.py",
    "serving/files.py",
    "training/__init__.py",
    "training/param_rules.py",
    "training/lock.py",
    "training/param_file.py",
    "training/paths.py",
    "training/progress.py",
    "training/stage.py",
    "training/stage_code.py",
    "training/data/summary.py",
    "training/system_errors.py",
}
# Every value of these classes has this name, so that its attributes can be found without inferring types.
ROOTS: dict[str, tuple[type[BaseModel], str]] = {
    "params.yaml": (Params, "params"),
    "experiments/params.yaml": (ExperimentSettings, "settings"),
}
PREFIXES = ("load_", "validate_", "changed_", "trained_")  # of functions that return a whole file

every_stage = pytest.mark.parametrize("stage", STAGES)


@cache
def parse(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


def file_of(module: str) -> str | None:
    """The file of one of our modules, relative to the repository; None for other modules and for bare packages."""
    if module.split(".")[0] not in PACKAGES:
        return None
    stem = ROOT.joinpath(*module.split("."))
    found = next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)
    file = found and found.relative_to(ROOT).as_posix()
    return None if file is None or is_only_a_docstring(file) else file


def is_only_a_docstring(file: str) -> bool:
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in parse(file).body)


def imported_modules(file: str) -> Iterator[str]:
    """Every module that a file may import, and the packages that contain them."""
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: length + 1]) for length in range(len(parts)))


@cache
def files_of(stage: str) -> frozenset[str]:
    """Files that shape a stage's output: its own module and all that it imports, directly or not."""
    (module,) = re.findall(r"python -m (\S+)", STAGES[stage]["cmd"])
    found: set[str] = set()
    new = {file_of(module) or ""}
    while new:
        found |= new
        new = {file for known in new for name in imported_modules(known) if (file := file_of(name))} - found - INERT
    return frozenset(found)


def is_covered(file: str, by: Iterable[str]) -> bool:
    return any(file == path or file.startswith(f"{path}/") for path in by)


@every_stage
def test_a_stage_depends_on_every_module_that_it_imports_and_on_no_other(stage: str) -> None:
    listed = [path for path in STAGES[stage]["deps"] if path.split("/")[0] in PACKAGES]
    missing = {file for file in files_of(stage) if not is_covered(file, listed)}
    assert not missing, f"add to the deps of {stage}: {sorted(missing)}"
    unused = {path for path in listed if not any(is_covered(file, [path]) for file in files_of(stage))}
    assert not unused, f"remove from the deps of {stage}: {sorted(unused)}"


def listed_keys(stage: str, file: str) -> set[str]:
    """Keys of a parameter file that a stage's `params` names. Those of params.yaml need no file name."""
    keys: set[str] = set()
    for entry in STAGES[stage].get("params", []):
        if isinstance(entry, dict):
            keys.update(entry.get(file, []))
        elif file == "params.yaml":
            keys.add(entry)
    return keys


def is_root(node: ast.AST, name: str) -> bool:
    """True for an expression that is a whole parameter file: `params`, `self.params`, `load_params()`, `x.params()`."""
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return called in (name, *(f"{prefix}{name}" for prefix in PREFIXES))
    return name == (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", ""))


def keys_read(file: str, model: type[BaseModel], name: str) -> set[str]:
    """Dotted keys that a file reads; a section that is handed on as a whole counts as all of its keys."""
    tree = parse(file)
    outer = {id(node.value): node for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    keys: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not is_root(node.value, name):
            continue
        if node.attr == "model_dump":
            keys.update(model.model_fields)
        elif node.attr in model.model_fields:
            section = model.model_fields[node.attr].annotation
            fields = getattr(section, "model_fields", {})
            key = outer[id(node)].attr if id(node) in outer else ""
            keys.add(f"{node.attr}.{key}" if key in fields else node.attr)
    return keys


@every_stage
@pytest.mark.parametrize("file", ROOTS)
def test_a_stage_lists_every_parameter_that_it_reads(stage: str, file: str) -> None:
    read = {key for path in files_of(stage) for key in keys_read(path, *ROOTS[file])}
    listed = listed_keys(stage, file)
    missing = {key for key in read if not {key, key.split(".")[0]} & listed}
    assert not missing, f"add to the params of {stage} ({file}): {sorted(missing)}"
    unused = {key for key in listed if not any(f"{found}.".startswith(f"{key}.") for found in read)}
    assert not unused, f"remove from the params of {stage} ({file}): {sorted(unused)}"


def misnamed(tree: ast.Module, model: type[BaseModel], name: str) -> Iterator[str]:
    """Variables that hold the whole of a parameter file under another name than its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and isinstance(node.annotation, ast.Name) and node.annotation.id == model.__name__:
            found = [node.arg]
        elif isinstance(node, ast.FunctionDef) and ast.unparse(node.returns or node) == model.__name__:
            found = [reduce(str.removeprefix, PREFIXES, node.name)]
        elif isinstance(node, ast.Assign) and is_root(node.value, name):
            found = [ast.unparse(target) for target in node.targets]
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == model.__name__:
            found = [ast.unparse(node.target)]
        else:
            continue
        yield from (one for one in found if one.split(".")[-1] != name)


@every_stage
@pytest.mark.parametrize("file", ROOTS)
def test_whole_parameter_files_have_one_name_so_that_what_is_read_of_them_can_be_found(stage: str, file: str) -> None:
    model, name = ROOTS[file]
    reading = {path: [*misnamed(parse(path), model, name)] for path in files_of(stage)}
    assert not {path: names for path, names in reading.items() if names}, f"call a {model.__name__} {name}"


def test_a_new_image_source_route_or_test_of_models_does_not_train_again() -> None:
    for path in ("training/data/sources", "serving/http", "serving/server", "training/evaluation/classifier.py"):
        assert (ROOT / path).exists()
        assert not [file for file in stage_code.code_files("train") if file.is_relative_to(ROOT / path)]
