"""Where the stages leave things for one another, relative to the folder that holds params.yaml."""

import os
from pathlib import Path

PARAMS = Path("params.yaml")

TORCHVISION = Path("data/torchvision")  # what torchvision:NAME downloads
PREPARED = Path("data/prepared")
IMAGES = PREPARED / "images.npy"  # uint8 [N, H, W, C]
LABELS = PREPARED / "labels.npy"  # int64 [N]
MANIFEST = PREPARED / "manifest.json"

RUNS = Path(".runs")
PREPARED_CACHE_RECORD = RUNS / "prepared.json"  # from what the prepared data was made
PREPARED_LOCK = RUNS / "prepared.lock"  # held by the `preprocess` that is running
UNPACKED = RUNS / "unpacked"  # scratch space of `preprocess`
GENERATOR_WEIGHTS = Path("models/generator.pt")  # what `train` hands to `export`
MODEL = Path("models/generator.onnx")

TRAIN_REPORT = Path("reports/train")
SAMPLES = Path("reports/samples")
METRICS = Path("reports/metrics.json")
EVALUATION_GRID = Path("reports/real-and-generated.png")

DVC_COPIES = (".dvc", "tmp", "exps")  # where `dvc exp run --temp` and DVC's queue make their copies of a checkout


def expand_user_path(text: str) -> Path:
    """A path as a person writes it. A leading ~ is a home folder; where nobody has that name there is no such path.

    In a passing copy of a checkout, which holds what git knows and none of the pictures, a relative path is one in the
    checkout itself unless the copy has it.
    """
    path = Path(os.path.expanduser(text))  # noqa: PTH111  # Path.expanduser raises RuntimeError for an unknown user
    kept = main_checkout() / path
    return kept if kept.exists() and not path.exists() else path


def main_checkout() -> Path:
    """The checkout that this folder is a passing copy of; `.` in a checkout of its own.

    What took hours must outlive such a copy: DVC deletes the folders of --temp and of its queue when a run ends,
    however it ends, and a linked git worktree is made to be removed.
    """
    here = Path.cwd()
    for above in here.parents:
        if above.parts[-len(DVC_COPIES) :] == DVC_COPIES:
            return above.parents[len(DVC_COPIES) - 1]
    for folder in (here, *here.parents):
        if (folder / ".git").exists():
            return _main_worktree(folder / ".git", here.relative_to(folder))
    return Path()


def _main_worktree(git: Path, inside: Path) -> Path:
    """The same folder in the main worktree where `git` is the .git file of a linked one; `.` where it is not.

    Such a file names a folder that holds `commondir`, the way from there to the .git folder that all worktrees share
    (gitrepository-layout(5)). A submodule has a .git file too, but no `commondir`.
    """
    if git.is_dir():
        return Path()
    own = git.parent / git.read_text().strip().removeprefix("gitdir: ")
    if not (own / "commondir").exists():
        return Path()
    shared = (own / (own / "commondir").read_text().strip()).resolve()
    return shared.parent / inside if shared.name == ".git" else Path()  # a bare repository has no main worktree


def persistent_runs() -> Path:
    """The `.runs` for what outlives the checkout that it was made in: checkpoints and features."""
    return main_checkout() / RUNS
