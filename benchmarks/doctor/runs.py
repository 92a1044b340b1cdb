"""Runs of the doctor's benchmark and the files of their records."""

import ast
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.doctor.recipes import RECIPES
from benchmarks.experiments import dataset
from training import paths
from training.params import Params
from training.stage_code import ROOT

RECORDS = paths.RUNS / "doctor"
# What shapes a record: not the doctor, whose rules are chosen and judged by the same records.
CODE = (
    "training/data/batches.py",
    "training/evaluation/*.py",
    "training/gan/*.py",
    "training/networks/*.py",
    "training/probes.py",
    "training/scalars.py",
    "benchmarks/doctor/record.py",
)
OTHER_CODE = ("checkpoint", "environment", "restore", "start", "training_state")  # of training.gan


@dataclass(frozen=True)
class Run:
    """One run of a recipe. rgb_source: the pictures of flowers."""

    recipe: str
    data: str
    seed: int
    rgb_source: str | None

    @property
    def params(self) -> Params:
        """Parameters of the run."""
        return RECIPES[self.recipe].params(self.data, self.seed)

    @property
    def images(self) -> dataset.ImageSpec:
        """Images that the run is trained on and measured with."""
        data = self.params.data
        return dataset.ImageSpec(data.resolution.height, data.channels, self.rgb_source if data.channels == 3 else None)

    @property
    def path(self) -> Path:
        """File of the record; its name has a hash of everything that shapes it. The images must be prepared."""
        values = self.params.model_dump(mode="json", exclude={"name", "data", "export", "evaluate", "promote"})
        recipe = RECIPES[self.recipe]
        inputs = [values, recipe.images, recipe.plant, content(self.images.folder()), code(CODE, OTHER_CODE)]
        digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
        name = re.sub(r"[^a-z0-9]+", "-", self.recipe.lower())
        return RECORDS / f"{self.data}-{name}-{self.seed}-{digest}.json"


@cache
def content(folder: Path) -> str:
    """Hash of the arrays in a folder."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.npy")))).hexdigest()


@cache
def code(patterns: tuple[str, ...], without: tuple[str, ...] = ()) -> str:
    """Hash of the statements of some files, without comments, docstrings and imports. without: names of modules."""
    files = sorted(file for pattern in patterns for file in ROOT.glob(pattern) if file.stem not in without)
    return hashlib.sha256("".join(statements(file.read_text()) for file in files).encode()).hexdigest()


def statements(source: str) -> str:
    """Python code as a syntax tree, without what does not run: comments, docstrings and imports."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [each for each in node.body if not isinstance(each, ast.Import | ast.ImportFrom)]
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
    return ast.dump(tree)
