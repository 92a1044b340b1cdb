"""Checkpoints of a training run in `.runs/<fingerprint>/`: saving, pruning, resuming and the run's lock.

A checkpoint `kimg-000240.000.pt` holds the trainer's state and the training reports of the same step, so that curves
and sample grids are restored together with the weights. It carries a checksum; a damaged checkpoint is never loaded.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.files import remove_stale_temporaries
from training import paths
from training.data.manifest import Manifest
from training.lock import exclusive_lock
from training.params import Params
from training.stage_code import code_digest
from training.torch_files import DamagedFileError, load_with_checksum, peek, save_with_checksum

# Parameters left out of the fingerprint: they affect only the run's length and what it saves on the way. The content of
# start_from counts, not its path.
NOT_FINGERPRINTED = {"length", "checkpoint_kimg", "keep_checkpoints", "sheet_epochs", "device", "start_from", "loggers"}
REPORTS = (paths.TRAIN_REPORT, paths.SAMPLES)  # saved in every checkpoint


def fingerprint(params: Params, manifest: Manifest, start: str | None = None) -> str:
    """Identifier of a run: a digest of its data, network, training parameters, code and start, but not of its length.

    start: content hash of the training state that it starts from; None for new weights.
    """
    digest = hashlib.sha256()
    configuration = {
        "data": manifest.data_sha256,
        "tags": manifest.class_tags,
        "network": params.network.model_dump(),
        "objective": params.objective.model_dump(),
        "stabilise": params.stabilise.model_dump(),
        "train": params.train.model_dump(exclude=NOT_FINGERPRINTED | {"doctor"}),
        "heals": params.train.doctor == "heal",
        "start": start,
    }
    digest.update(json.dumps(configuration, sort_keys=True).encode())
    digest.update(code_digest("train").encode())
    return digest.hexdigest()[:16]


class RunFolder:
    """Checkpoint folder of one run. Use `open_run` to create it and hold its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def checkpoints(self) -> list[Path]:
        """All checkpoints, oldest first."""
        return sorted(self.path.glob("kimg-*.pt"))

    def latest(self, accept: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        """Load the newest intact state for which `accept` is true, and restore its reports.

        Returns None when there is none, and clears the reports: the run starts from scratch, beside any checkpoints
        of a longer one. Damaged checkpoints are reported and removed, as they would count towards those kept.
        """
        damaged = 0
        for checkpoint in reversed(self.checkpoints()):
            try:
                content = load_with_checksum(checkpoint)
            except DamagedFileError as error:
                checkpoint.unlink()
                print(f"{error} and was removed; going back to the checkpoint before it")
                damaged += 1
                continue
            if accept(content["state"]):
                _restore_reports(content["reports"])
                state: dict[str, Any] = content["state"]
                return state
        if damaged:
            print(f"no other checkpoint in {self.path} can be used; starting over")
        _restore_reports({})
        return None

    def load(self, kimg: float) -> dict[str, Any] | None:
        """Load the state of one checkpoint; None when it is missing or damaged."""
        try:
            state: dict[str, Any] = load_with_checksum(self.file(kimg))["state"]
        except (FileNotFoundError, DamagedFileError):
            return None
        return state

    def file(self, kimg: float) -> Path:
        """File of the checkpoint after so many thousand images."""
        return self.path / f"kimg-{kimg:010.3f}.pt"

    def save(self, state: dict[str, Any], keep: int, **about: Any) -> Path:
        """Write a checkpoint, then remove all but the `keep` newest ones up to it and those that these call the best.

        state: tensors and plain values; state["images_seen"] names the checkpoint, state["monitor"]["best"] the best.
        about: plain values beside the state: `description`, of the networks and the data, for later runs that start
        from it, and `environment`, for `mint verify`.
        """
        path = self.file(state["images_seen"] / 1000)
        content = {"state": state, "reports": _read_reports()} | about
        save_with_checksum(content, path)
        upto = [other for other in self.checkpoints() if other.name <= path.name]
        best = {self._best_of(other) for other in upto[-keep:]}
        for old in upto[:-keep]:
            if old not in best:
                old.unlink()
        return path

    def _best_of(self, checkpoint: Path) -> Path | None:
        """The checkpoint that was the best when this one was saved."""
        try:
            best = peek(checkpoint)["state"]["monitor"]["best"]
        except DamagedFileError:
            return None
        return best and self.file(best["kimg"])


@contextmanager
def open_run(name: str) -> Iterator[RunFolder]:
    """Create or reopen `.runs/<name>/` for this process alone. Raises MintError while another one trains in it."""
    path = paths.persistent_runs() / name
    with exclusive_lock(path / "lock", f"training {path}"):
        remove_stale_temporaries(path)
        yield RunFolder(path)


def _read_reports() -> dict[str, bytes]:
    """Content of every report file, by path."""
    files = (file for folder in REPORTS for file in sorted(folder.rglob("[!.]*")) if file.is_file())
    return {file.as_posix(): file.read_bytes() for file in files}


def _restore_reports(reports: dict[str, bytes]) -> None:
    """Replace the reports by those of a checkpoint, so that the curves contain no step twice."""
    for folder in REPORTS:
        shutil.rmtree(folder, ignore_errors=True)
    for name, content in reports.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
