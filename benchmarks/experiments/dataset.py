"""Datasets of the experiments, as arrays in .runs/experiments/ that are prepared once for each specification.

Grey images are the embedded Fashion-MNIST. RGB ones come from rgb_source; without it, three grey images of one class
become the channels of one image, so that colours carry information and a classifier still has classes.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.experiments.settings import DATA, ROOT
from serving.errors import MintError
from serving.files import atomic_write
from serving.inference.image_shape import Resolution
from training.data.cache import current_inputs
from training.data.manifest import SkippedFile
from training.data.sources import open_source
from training.data.subset import stratified_subset
from training.param_sections import DataParams
from training.preprocess import decode_item, parallel_map

FASHION_MNIST = ROOT / "data" / "fashion-mnist-10k"
IMAGES, LABELS = "images.npy", "labels.npy"
REFERENCE_FACTOR = 2  # reference images for each evaluated one: more of them reduce the variance of the metrics


@dataclass(frozen=True)
class ImageSpec:
    """Source, format and largest number of the images."""

    resolution: int
    channels: int
    rgb_source: str | None = None
    limit: int | None = None

    @property
    def composed(self) -> bool:
        """True where the channels are three grey images."""
        return self.channels == 3 and self.rgb_source is None

    @property
    def description(self) -> str:
        """Description in the report; it names a source without its folder, which is private."""
        if self.channels == 1:
            return "the embedded Fashion-MNIST (10,000 grey images in 10 classes)"
        if self.rgb_source:
            return f"the RGB images of {Path(self.rgb_source).name}"
        return "RGB images made from the embedded Fashion-MNIST, three images of one class as the three channels"

    def data_params(self) -> DataParams:
        """Parameters of `preprocess` for these images, or for those that they are composed of."""
        return DataParams(
            source=str(FASHION_MNIST) if self.channels == 1 or self.composed else str(self.rgb_source),
            labels="auto",
            resolution=Resolution(self.resolution, self.resolution),
            channels=1 if self.composed else self.channels,  # type: ignore[arg-type]  # pydantic checks it
            background="#ffffff",
            limit=self.limit,
            max_skipped=1.0,
        )

    def folder(self, root: Path = DATA) -> Path:
        """Folder of the arrays; its name has a hash of all inputs."""
        inputs = current_inputs(self.data_params()).model_dump(exclude={"data": {"source"}})
        key = json.dumps([asdict(self), inputs], sort_keys=True)
        name = "composed" if self.composed else "grey" if self.channels == 1 else "rgb"
        return root / f"{name}-{self.resolution}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class LabelledImages:
    """Images uint8 [N, H, W, C] and labels int64 [N], in a fixed random order."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class Split:
    """Three disjoint parts. Metrics compare with `reference`; `held_out` gives the metrics of real images."""

    training: LabelledImages
    reference: LabelledImages
    held_out: LabelledImages


def prepare(spec: ImageSpec, folder: Path) -> None:
    """Write the arrays, unless they exist."""
    if (folder / LABELS).exists():
        return
    images, labels = _read(spec)
    if spec.composed:
        images, labels = compose(images, labels)
    order = np.random.RandomState(0).permutation(len(images))
    for name, array in ((IMAGES, images), (LABELS, labels)):  # labels last: their file marks both as complete
        with atomic_write(folder / name) as path, path.open("wb") as file:
            np.save(file, array[order])


def load(folder: Path) -> LabelledImages:
    """Load the arrays that `prepare` wrote; the images are memory-mapped."""
    return LabelledImages(np.load(folder / IMAGES, mmap_mode="r"), np.load(folder / LABELS))


def split(data: LabelledImages, training: int | None, evaluated: int) -> Split:
    """Split off the images to evaluate with, the same for every variant, then those to train on; None for the rest.

    Raises MintError when there are too few.
    """
    reserved = (1 + REFERENCE_FACTOR) * evaluated
    wanted = reserved + (1 if training is None else training)
    if len(data.images) < wanted:
        raise MintError(
            f"there are {len(data.images)} images, and {wanted} are needed: {reserved} to compare with and the "
            "rest to train on; name a larger rgb_source in experiments/params.yaml"
        )
    end = len(data.images) if training is None else wanted
    cuts = ((reserved, end), (evaluated, reserved), (0, evaluated))
    return Split(*(LabelledImages(data.images[start:stop], data.labels[start:stop]) for start, stop in cuts))


def compose(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Compose N grey images [N, H, W, 1] to N RGB ones [N, H, W, 3], each of three different images of one class."""
    rows = np.empty((len(images), 3), np.int64)
    for label in np.unique(labels):
        members = np.random.RandomState(label).permutation(np.flatnonzero(labels == label))
        rows[members] = np.stack([np.roll(members, shift) for shift in range(3)], axis=1)
    return np.concatenate([images[rows[:, channel]] for channel in range(3)], axis=3), labels


def _read(spec: ImageSpec) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Decode all readable images as `preprocess` does. Raises MintError without class folders."""
    data = spec.data_params()
    with open_source(data) as source:
        if len(source.classes) < 2:
            raise MintError(f"rgb_source {spec.rgb_source} has no class folders; the experiments count classes")
        decoded = list(parallel_map(lambda item: decode_item(item, data), stratified_subset(source.items, data.limit)))
    read = [one for one in decoded if not isinstance(one, SkippedFile)]
    if not read:
        raise MintError(f"rgb_source {spec.rgb_source} holds no readable image; name another folder or archive")
    labels = np.array([one.item.label or 0 for one in read], np.int64)
    # Renumbered without gaps, as all files of a class may be unreadable.
    return np.stack([one.pixels for one in read]), np.unique(labels, return_inverse=True)[1].astype(np.int64)
