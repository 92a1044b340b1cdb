"""The folder of one run, `.runs/<fingerprint>/`: its checkpoints, its lock, and how it goes on.

A checkpoint is a file `kimg-000240.000.pt` with the state of the game and the reports as they stood, so that
curves and sheets go back with the weights. It carries a checksum: of a damaged one nothing is taken.
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
from training.torch_files import DamagedFileError, load_with_checksum, save_with_checksum

# Changing one of these does not change what a run is, only how far it goes and what it leaves on the way.
SCHEDULE = {"length", "checkpoint_kimg", "keep_checkpoints", "sheet_epochs", "device"}
REPORTS = (paths.TRAIN_REPORT, paths.SAMPLES)  # what a checkpoint holds beside the state


def fingerprint(params: Params, manifest: Manifest) -> str:
    """Names a run by all that shapes it but its length: data, network, training parameters and code."""
    digest = hashlib.sha256()
    shape = {
        "data": manifest.data_sha256,
        "tags": manifest.class_tags,
        "network": params.network.model_dump(),
        "objective": params.objective.model_dump(),
        "stabilise": params.stabilise.model_dump(),
        "train": params.train.model_dump(exclude=SCHEDULE),
    }
    digest.update(json.dumps(shape, sort_keys=True).encode())
    digest.update(code_digest("train").encode())  # a run trained by other code is another run
    return digest.hexdigest()[:16]


class RunFolder:
    """The checkpoints of one run. Make one with `open_run`, which also takes the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def checkpoints(self) -> list[Path]:
        """Every checkpoint, oldest first."""
        return sorted(self.path.glob("kimg-*.pt"))

    def latest(self, within: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        """The newest sound state that is `within` the length asked for, with its reports put back.

        None when there is none; a shorter run then starts afresh beside the longer one, with empty reports. Says
        which checkpoints are damaged, and removes them: they would count among those that are kept.
        """
        damaged = 0
        for checkpoint in reversed(self.checkpoints()):
            try:
                kept = load_with_checksum(checkpoint)
            except DamagedFileError as error:
                checkpoint.unlink()
                print(f"{error} and was removed; going back to the checkpoint before it")
                damaged += 1
                continue
            if within(kept["state"]):
                _put_back_reports(kept["reports"])
                state: dict[str, Any] = kept["state"]
                return state
        if damaged:
            print(f"no other checkpoint in {self.path} can be used; starting over")
        _put_back_reports({})
        return None

    def save(self, state: dict[str, Any], keep: int) -> Path:
        """Writes a checkpoint, then removes all but the `keep` newest of those that led to it.

        state: tensors and plain values; state["images_seen"] names the checkpoint.
        """
        path = self.path / f"kimg-{state['images_seen'] / 1000:010.3f}.pt"
        save_with_checksum({"state": state, "reports": _reports()}, path)
        for old in [other for other in self.checkpoints() if other.name <= path.name][:-keep]:
            old.unlink()
        return path


@contextmanager
def open_run(name: str) -> Iterator[RunFolder]:
    """Makes or reopens `.runs/<name>/` for this process alone. Raises MintError while another one trains in it."""
    path = paths.persistent_runs() / name
    with exclusive_lock(path / "lock", f"training {path}"):
        remove_stale_temporaries(path)
        yield RunFolder(path)


def _reports() -> dict[str, bytes]:
    """The content of every file of the reports, by its path."""
    files = (file for folder in REPORTS for file in sorted(folder.rglob("[!.]*")) if file.is_file())
    return {file.as_posix(): file.read_bytes() for file in files}


def _put_back_reports(reports: dict[str, bytes]) -> None:
    """Replaces the reports by those of a checkpoint, so that curves hold no step twice."""
    for folder in REPORTS:
        shutil.rmtree(folder, ignore_errors=True)
    for name, content in reports.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
