"""Paths of the files that stages exchange, relative to the folder that holds params.yaml."""

import os
from pathlib import Path

PARAMS = Path("params.yaml")

TORCHVISION = Path("data/torchvision")  # downloads of torchvision:NAME
PREPARED = Path("data/prepared")
IMAGES = PREPARED / "images.npy"  # uint8 [N, H, W, C]
LABELS = PREPARED / "labels.npy"  # int64 [N]
MANIFEST = PREPARED / "manifest.json"

RUNS = Path(".runs")
PREPARED_CACHE_RECORD = RUNS / "prepared.json"  # inputs of the prepared data, see data/cache.py
PREPARED_LOCK = RUNS / "prepared.lock"  # held by a running `preprocess`
UNPACKED = RUNS / "unpacked"  # scratch space of `preprocess`
LAUNCH_LOCK = RUNS / "launch.lock"  # held by `make train`, also while DVC runs
GENERATOR_WEIGHTS = Path("models/generator.pt")  # output of `train`
CANDIDATE = Path("models/candidate")  # the exported model and its measurements; what is served is below
CANDIDATE_MODEL = CANDIDATE / "generator.onnx"
CANDIDATE_METRICS = CANDIDATE / "metrics.json"
CANDIDATE_HEADLINE = CANDIDATE / "headline.json"  # the few metrics that `dvc exp show` and `dvc metrics show` list
CANDIDATE_GRID = CANDIDATE / "real-and-generated.png"
MODEL = Path("models/generator.onnx")
HISTORY = Path("models/history")  # the models that were served last, by id
DECISION = RUNS / "decision.txt"  # sentence of the last `promote`, for `make train` to end with
PROMOTE_LOCK = RUNS / "promote.lock"  # held while the served model is replaced

TRAIN_REPORT = Path("reports/train")
PROBES = TRAIN_REPORT / "probes.jsonl"  # a row of measurements at every train.probe_kimg
RUN_PAGE = TRAIN_REPORT / "index.html"
EVENTS = TRAIN_REPORT / "events.jsonl"  # what the doctor found and did
SAMPLES = Path("reports/samples")
PROGRESS_GRID = Path("reports/progress.png")  # of the running training; no output of a stage
PROGRESS_PAGE = Path("reports/progress.html")
METRICS = Path("reports/metrics.json")
EVALUATION_GRID = Path("reports/real-and-generated.png")
COMPARISON = Path("reports/compare.html")

DVC_LOCKS = Path(".dvc/tmp/rwlock")  # JSON: the processes that run a stage, by the paths that they write
DVC_CHECKOUTS = (".dvc", "tmp", "exps")  # temporary checkouts of `dvc exp run --temp` and of DVC's queue


def expand_user_path(text: str) -> Path:
    """Expand ~ in a path from the user; an unknown user's ~name is left as it is.

    In a temporary checkout, which lacks the images because git does not track them, a relative path that does not exist
    is resolved against the main checkout.
    """
    path = Path(os.path.expanduser(text))  # noqa: PTH111  # Path.expanduser raises RuntimeError for an unknown user
    in_main = main_checkout() / path
    return in_main if in_main.exists() and not path.exists() else path


def main_checkout() -> Path:
    """Return the main checkout of a temporary one; `.` in the main checkout itself.

    Checkpoints must outlive temporary checkouts: DVC deletes those of --temp and of its queue when a run ends, and
    linked git worktrees are meant to be removed.
    """
    here = Path.cwd()
    for parent in here.parents:
        if parent.parts[-len(DVC_CHECKOUTS) :] == DVC_CHECKOUTS:
            return parent.parents[len(DVC_CHECKOUTS) - 1]
    for folder in (here, *here.parents):
        if (folder / ".git").exists():
            return _main_worktree(folder / ".git", here.relative_to(folder))
    return Path()


def _main_worktree(git: Path, inside: Path) -> Path:
    """Return the folder `inside` in the main worktree if `git` is the .git file of a linked one, else `.`.

    A linked worktree's .git file names a folder with a file `commondir`, the path from there to the shared .git folder
    (gitrepository-layout(5)). A submodule has a .git file too, but no `commondir`.
    """
    if git.is_dir():
        return Path()
    worktree_git = git.parent / git.read_text().strip().removeprefix("gitdir: ")
    if not (worktree_git / "commondir").exists():
        return Path()
    shared = (worktree_git / (worktree_git / "commondir").read_text().strip()).resolve()
    return shared.parent / inside if shared.name == ".git" else Path()  # a bare repository has no main worktree


def persistent_runs() -> Path:
    """Return the `.runs` folder of the main checkout, for checkpoints and features that outlive a temporary one."""
    return main_checkout() / RUNS
