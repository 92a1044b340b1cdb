"""Training states that a run can start from: checkpoints, and the models/generator.pt that `train` writes.

A state describes its networks and the data that they were trained on, so that train.start_from can match its classes,
channels and layers with those of a new run, and so that the model card can list what a model was started from.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from serving.errors import MintError
from serving.files import atomic_write
from serving.inference.lineage import Ancestor
from training import paths
from training.torch_files import DamagedFileError, load_with_checksum, stored_checksum

ZIP_MAGIC = b"PK"  # of torch's files
KINDS = "a checkpoint in .runs/, or a copy of models/generator.pt"


class StartError(MintError):
    """train.start_from names no state that this run can start from."""

    def __init__(self, message: str) -> None:
        super().__init__(f"params.yaml: train.start_from: {message}")


class StateDescription(BaseModel):
    """Networks of a training state, the data they were trained on, and the states that they were started from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str  # fingerprint
    data: str  # name of the data
    data_sha256: str
    images: str  # such as `10000 images 28x28x1, 10 classes`
    family: str  # network.name
    latent_inputs: int  # of the generator: z, and the class embedding beside it
    channels: int
    packing: int
    tags: tuple[str, ...]  # in the order of the embeddings; empty without conditioning
    lineage: tuple[Ancestor, ...]  # nearest first


@dataclass(frozen=True)
class TrainingState:
    """Weights of a training state, on the CPU, and their description."""

    file: Path
    sha256: str  # of the file's content
    description: StateDescription
    images_seen: int
    generator: dict[str, Tensor]
    ema: dict[str, Tensor]
    discriminator: dict[str, Tensor]

    @property
    def lineage(self) -> tuple[Ancestor, ...]:
        """Lineage of a run that starts from this state: this state, then those before it."""
        about = self.description
        this = Ancestor(run=about.run, data=about.data, data_sha256=about.data_sha256, images_seen=self.images_seen)
        return (this, *about.lineage)


def newest_checkpoint() -> Path:
    """Newest checkpoint of any run. Raises StartError when there is none."""
    runs = paths.persistent_runs()
    checkpoints = sorted(runs.glob("*/kimg-*.pt"), key=lambda path: path.stat().st_mtime_ns)
    if not checkpoints:
        raise StartError(f"auto takes the newest run and {runs} has none; set it to none, or to {KINDS}")
    return checkpoints[-1]


def keep_file(file: Path, kept: Path) -> None:
    """Keep a checkpoint as `kept` too, whatever happens to it; by a link, which takes no space, where that works."""
    with atomic_write(kept) as part:
        try:
            os.link(file, part)  # checkpoints are replaced and removed, but never changed
        except OSError:  # a file system without links
            shutil.copyfile(file, part)


def load_training_state(file: Path) -> TrainingState:
    """Read a checkpoint, or a models/generator.pt. Raises StartError for any other file, and for a damaged one."""
    content = _read(file)
    match content:
        case {"state": {"trainer": trainer, "images_seen": images_seen}, "description": description}:
            generator, ema, discriminator = (trainer[name] for name in ("generator", "ema", "discriminator"))
        case {"generator": ema, "discriminator": discriminator, "images_seen": images_seen, "description": description}:
            generator = ema
        case {"state": {"trainer": _}} | {"generator": _, "images_seen": _}:
            description = None
        case _:
            raise StartError(f"{file} is no training state; it takes {KINDS}")
    try:
        return TrainingState(
            file,
            stored_checksum(file),
            StateDescription.model_validate(description),
            images_seen,
            generator,
            ema,
            discriminator,
        )
    except ValidationError:
        raise StartError(
            f"{file} is of another version of Mint, which described its networks differently; "
            "train it again with this version, or set start_from to none"
        ) from None


def _read(file: Path) -> Any:
    """Content of a file that torch wrote. Raises StartError when it is missing, damaged or something else."""
    if file.resolve() == paths.GENERATOR_WEIGHTS.resolve():
        raise StartError(
            f"{paths.GENERATOR_WEIGHTS} is the output of this stage, which DVC removes first; "
            "copy it under another name, or set start_from to auto"
        )
    if file.is_dir():
        raise StartError(f"{file} is a folder; name one of its files, such as {file / 'kimg-000240.000.pt'}")
    try:
        return load_with_checksum(file)
    except FileNotFoundError:
        raise StartError(f"{file} does not exist; it takes {KINDS}, or auto for the newest run") from None
    except DamagedFileError as error:
        with file.open("rb") as opened:
            if opened.read(len(ZIP_MAGIC)) != ZIP_MAGIC:
                raise StartError(f"{file} is no training state; it takes {KINDS}") from None
        raise StartError(f"{error}, so it is damaged or not Mint's; take another checkpoint") from None
