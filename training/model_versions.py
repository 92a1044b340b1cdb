"""The served model and the ones before it: swapping one for another, and the history that a rollback goes back through.

A version is a model file with the metrics and the comparison grid made from it. models/history/<id>/ keeps those that
were served last, history.json their order. A file is replaced by a rename, so a running service loads the old model or
the new one, never a part; metrics.json is of the model beside it or absent, even after a crash.
"""

import json
import re
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import MintError
from serving.files import atomic_write, fsync_directory
from serving.inference.generator import MODEL_ID_LENGTH
from training import paths

KEPT = 5  # versions in the history besides the served one
ORDER = paths.HISTORY / "history.json"
ID = re.compile(rf"[0-9a-f]{{{MODEL_ID_LENGTH}}}")


@dataclass(frozen=True)
class ModelVersion:
    """A model file, and the metrics and the comparison grid made from it."""

    model: Path
    metrics: Path
    grid: Path

    @classmethod
    def in_folder(cls, folder: Path, model: str = paths.MODEL.name) -> Self:
        """The version whose files lie in one folder, under the names that `export` and `evaluate` give them."""
        return cls(folder / model, folder / paths.METRICS.name, folder / paths.EVALUATION_GRID.name)

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """The model file, the metrics and the grid."""
        return self.model, self.metrics, self.grid

    @property
    def model_id(self) -> str:
        """Start of the file's SHA-256, as the service names it. Raises FileNotFoundError."""
        return sha256(self.model.read_bytes()).hexdigest()[:MODEL_ID_LENGTH]

    def read_metrics(self) -> dict[str, Any] | None:
        """The metrics of this very model file; None if there are none, or only those of another."""
        try:
            metrics = json.loads(self.metrics.read_bytes())
        except (OSError, ValueError):
            return None
        return metrics if isinstance(metrics, dict) and metrics.get("model_id") == self.model_id else None


SERVED = ModelVersion(paths.MODEL, paths.METRICS, paths.EVALUATION_GRID)
CANDIDATE = ModelVersion.in_folder(paths.CANDIDATE)


class History(BaseModel):
    """Order of the versions in models/history, by id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    served: tuple[str, ...] = ()  # in the order in which they came into service; the last is the one served now
    rolled_back: tuple[str, ...] = ()  # taken out of service by a rollback, the latest last
    overruled: str | None = None  # the candidate at the last decision by hand, with which the stage leaves it alone

    @property
    def known(self) -> tuple[str, ...]:
        """Ids of all versions in the history."""
        return self.rolled_back + self.served


def current_history() -> History:
    """The history, in step with the served file, which git may have replaced. Archives that file if it is new."""
    try:
        history = History.model_validate_json(ORDER.read_bytes())
    except FileNotFoundError:
        history = History()
    except ValidationError:
        raise MintError(f"{ORDER} is damaged; delete {paths.HISTORY}, which holds the models before this one") from None
    return _with_served(history, SERVED) if SERVED.model.exists() else history


def archived(model_id: str) -> ModelVersion:
    """The version of this id in models/history, which need not exist."""
    return ModelVersion.in_folder(paths.HISTORY / model_id)


def promote(version: ModelVersion, history: History, by_hand: bool) -> None:
    """Serve a version; the one served until now stays in the history. by_hand: overrules the stage."""
    history = _with_served(history, version)
    serve(archived(history.served[-1]))
    _write(history.model_copy(update={"overruled": _candidate_id() if by_hand else None}))


def roll_back(history: History) -> tuple[str, str]:
    """Serve the version before the served one again. Returns their ids, the new one first.

    Raises MintError when there is none, or when its file is damaged.
    """
    if len(history.served) < 2:
        raise MintError(f"there is no model to go back to: {paths.HISTORY} holds none served before {paths.MODEL}")
    *_, before, now = history.served
    if not archived(before).model.exists() or archived(before).model_id != before:
        raise MintError(
            f"{archived(before).model} is missing or damaged; `make promote RUN=` serves another model, "
            f"and deleting {paths.HISTORY} forgets all of them"
        )
    serve(archived(before))
    rolled_back = (*(known for known in history.rolled_back if known != now), now)
    _write(History(served=history.served[:-1], rolled_back=rolled_back, overruled=_candidate_id()))
    return before, now


def serve(version: ModelVersion) -> None:
    """Replace the served files by those of a version.

    The old metrics and grid go first and the new ones come last: whenever this ends, they are of the model beside them
    or absent. With equal model files only the metrics and the grid are replaced.
    """
    has_metrics = version.read_metrics() is not None
    replaced = not SERVED.model.exists() or SERVED.model_id != version.model_id
    with ExitStack() as stack:  # exits in reverse order
        if has_metrics:
            _copy_at_exit(stack, version.grid, SERVED.grid)
            _copy_at_exit(stack, version.metrics, SERVED.metrics)
        if replaced:
            _copy_at_exit(stack, version.model, SERVED.model)
            SERVED.metrics.unlink(missing_ok=True)
            SERVED.grid.unlink(missing_ok=True)
            fsync_directory(SERVED.metrics.parent)


def _copy_at_exit(stack: ExitStack, source: Path, target: Path) -> None:
    """Copy a file, to replace the target when the stack exits; nothing for a source that does not exist."""
    if source.exists():
        shutil.copyfile(source, stack.enter_context(atomic_write(target)))


def _with_served(history: History, version: ModelVersion) -> History:
    """The history with this version as the last served one. Copies its files into models/history."""
    model_id = version.model_id
    kept = archived(model_id)
    with ExitStack() as stack:
        if version.read_metrics() is not None:
            _copy_at_exit(stack, version.metrics, kept.metrics)
            _copy_at_exit(stack, version.grid, kept.grid)
        if not kept.model.exists() or kept.model_id != model_id:
            _copy_at_exit(stack, version.model, kept.model)
    return history.model_copy(
        update={
            "served": (*(known for known in history.served if known != model_id), model_id),
            "rolled_back": tuple(known for known in history.rolled_back if known != model_id),
        }
    )


def _write(history: History) -> None:
    """Write the order, and drop the oldest versions: first those that were rolled back, then those served."""
    excess = max(0, len(history.rolled_back) + len(history.served) - 1 - KEPT)
    dropped = (*history.rolled_back, *history.served)[:excess]
    history = history.model_copy(
        update={
            "served": tuple(known for known in history.served if known not in dropped),
            "rolled_back": tuple(known for known in history.rolled_back if known not in dropped),
        }
    )
    with atomic_write(ORDER) as path:
        path.write_text(history.model_dump_json(indent=2) + "\n")
    for folder in paths.HISTORY.iterdir():
        if ID.fullmatch(folder.name) and folder.name not in (*history.served, *history.rolled_back):
            shutil.rmtree(folder)


def _candidate_id() -> str | None:
    return CANDIDATE.model_id if CANDIDATE.model.exists() else None
