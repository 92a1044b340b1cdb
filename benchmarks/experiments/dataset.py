"""The pictures that the variants learn from, as arrays in .runs/experiments/, made once for each kind.

Grey pictures are the embedded clothes. RGB ones come from rgb_source; without it, three clothes of one class
become the three channels of one picture, so that colours mean something and a classifier still has classes.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.experiments.settings import PICTURES, ROOT
from serving.errors import MintError
from serving.files import atomic_write
from training.data.cache import current_inputs
from training.data.manifest import SkippedFile
from training.data.sources import open_source
from training.data.subset import stratified_subset
from training.param_sections import DataParams
from training.preprocess import decode_item, parallel_map

CLOTHES = ROOT / "data" / "fashion-mnist-10k"
IMAGES, LABELS = "images.npy", "labels.npy"
REFERENCE_SHARE = 2  # reference images for each one that is evaluated: the more, the less the measures scatter


@dataclass(frozen=True)
class ImageSpec:
    """Which pictures: from where, in which form, and how many of them at most."""

    resolution: int
    channels: int
    rgb_source: str | None = None
    limit: int | None = None

    @property
    def composed(self) -> bool:
        """Whether the channels are three grey images."""
        return self.channels == 3 and self.rgb_source is None

    @property
    def words(self) -> str:
        """What the report calls them. A source by its name alone: where it lies is nobody's business."""
        if self.channels == 1:
            return "the embedded clothes (Fashion-MNIST, 10,000 grey images in 10 classes)"
        if self.rgb_source:
            return f"the RGB pictures of {Path(self.rgb_source).name}"
        return "RGB pictures made from the embedded clothes, three images of one class as the three channels"

    def data_params(self) -> DataParams:
        """How `preprocess` would be asked for what these pictures are made of."""
        return DataParams(
            source=str(CLOTHES) if self.channels == 1 or self.composed else str(self.rgb_source),
            labels="auto",
            resolution=self.resolution,  # type: ignore[arg-type]  # pydantic checks it
            channels=1 if self.composed else self.channels,  # type: ignore[arg-type]
            background="#ffffff",
            limit=self.limit,
            max_skipped=1.0,
        )

    def folder(self, root: Path = PICTURES) -> Path:
        """Where their arrays are kept, named by all that they are made of."""
        inputs = current_inputs(self.data_params()).model_dump(exclude={"data": {"source"}})
        shape = json.dumps([asdict(self), inputs], sort_keys=True)
        name = "composed" if self.composed else "clothes" if self.channels == 1 else "rgb"
        return root / f"{name}-{self.resolution}-{hashlib.sha256(shape.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class LabelledImages:
    """Images uint8 [N, H, W, C] and labels int64 [N], shuffled once and for all."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """How many classes the labels name."""
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class Split:
    """Three disjoint parts. Measures compare with `reference`; `held_out` says what real images score."""

    training: LabelledImages
    reference: LabelledImages
    held_out: LabelledImages


def prepare(kind: ImageSpec, folder: Path) -> None:
    """Makes the arrays, unless they are there."""
    if (folder / LABELS).exists():
        return
    images, labels = _read(kind)
    if kind.composed:
        images, labels = compose(images, labels)
    order = np.random.RandomState(0).permutation(len(images))
    for name, array in ((IMAGES, images), (LABELS, labels)):  # labels last: they say that both are there
        with atomic_write(folder / name) as path, path.open("wb") as file:
            np.save(file, array[order])


def load(folder: Path) -> LabelledImages:
    """The arrays that `prepare` made; the images are mapped, not read."""
    return LabelledImages(np.load(folder / IMAGES, mmap_mode="r"), np.load(folder / LABELS))


def split(pictures: LabelledImages, training: int | None, evaluated: int) -> Split:
    """Cuts off what is evaluated against, the same for every variant, and then so many to train on; None for the rest.

    Raises MintError when there are too few.
    """
    reserved = (1 + REFERENCE_SHARE) * evaluated
    wanted = reserved + (1 if training is None else training)
    if len(pictures.images) < wanted:
        raise MintError(
            f"there are {len(pictures.images)} pictures, and {wanted} are needed: {reserved} to compare with and the "
            "rest to train on; name a larger rgb_source in experiments/params.yaml"
        )
    end = len(pictures.images) if training is None else wanted
    cuts = ((reserved, end), (evaluated, reserved), (0, evaluated))
    return Split(*(LabelledImages(pictures.images[start:stop], pictures.labels[start:stop]) for start, stop in cuts))


def compose(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey images [N, H, W, 1] -> as many RGB ones [N, H, W, 3], each of three different images of one class."""
    rows = np.empty((len(images), 3), np.int64)
    for label in np.unique(labels):
        members = np.random.RandomState(label).permutation(np.flatnonzero(labels == label))
        rows[members] = np.stack([np.roll(members, shift) for shift in range(3)], axis=1)
    return np.concatenate([images[rows[:, channel]] for channel in range(3)], axis=3), labels


def _read(kind: ImageSpec) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Every image that can be read, as `preprocess` brings it to size. Raises MintError where there are no classes."""
    data = kind.data_params()
    with open_source(data) as source:
        if len(source.classes) < 2:
            raise MintError(f"rgb_source {kind.rgb_source} has no class folders; the experiments count classes")
        found = list(parallel_map(lambda item: decode_item(item, data), stratified_subset(source.items, data.limit)))
    read = [one for one in found if not isinstance(one, SkippedFile)]
    if not read:
        raise MintError(f"rgb_source {kind.rgb_source} holds no readable image; name another folder or archive")
    labels = np.array([one.item.label or 0 for one in read], np.int64)
    # Numbered without gaps, as a class may have lost all its files.
    return np.stack([one.pixels for one in read]), np.unique(labels, return_inverse=True)[1].astype(np.int64)
