"""Manifest of the prepared data, data/prepared/manifest.json: written by `preprocess`, read by every later stage."""

from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import MintError
from serving.inference.image_shape import ImageResolution
from training import paths

BLOCK_BYTES = 1 << 20  # read at a time
PREPARE_AGAIN = f"delete {paths.MANIFEST} and run `dvc repro` (or python -m training.preprocess) to prepare them again"


class DataError(MintError):
    """The source or the prepared data is missing, damaged or inconsistent with params.yaml."""


class FrozenModel(BaseModel):
    """Immutable pydantic model that forbids extra keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SkippedFile(FrozenModel):
    """A file that should have become an image and could not."""

    file: str
    reason: str


class IgnoredFiles(FrozenModel):
    """Ignored files of one kind: system files, captions, images outside the class folders."""

    kind: str  # in the plural: ".txt files"
    files: int
    examples: tuple[str, ...]


class Counts(FrozenModel):
    """Counts of the source's files: files = untagged + with unknown tags + beyond_limit + candidates."""

    files: int  # in the source, without Manifest.left_out
    untagged: int = 0  # without a row in the CSV of labels
    unknown_tags: dict[str, int] = {}  # files by tag, or combination of tags, that classes.txt does not list
    unknown_files: int = 0  # rows of the CSV without a file in the source
    beyond_limit: int = 0  # dropped by data.limit
    candidates: int = 0  # the rest: opened, and either used or skipped
    skipped: int = 0
    enlarged: int = 0  # used images that were smaller than the resolution


class Manifest(FrozenModel):
    """Description of the prepared arrays; without dates and paths, so that equal data has an equal manifest."""

    source: str  # last component of data.source
    name: str  # default name of a model trained on this data
    licence: str  # default licence note of such a model
    images: int
    resolution: ImageResolution
    channels: int  # 1 grey, 3 RGB, 4 RGBA
    classes: tuple[str, ...]  # in label order; empty for unlabelled data
    class_tags: tuple[tuple[str, ...], ...]  # by class; its own name if it combines no tags
    images_per_class: dict[str, int]
    empty_classes: tuple[str, ...]  # named by the source but without an image, so not in `classes`
    data_sha256: str  # of images.npy and labels.npy, see data_sha256()
    source_sha256: str  # of the names and bytes of the used files
    counts: Counts
    skipped: tuple[SkippedFile, ...]
    left_out: tuple[IgnoredFiles, ...] = ()  # most frequent kind first; not counted against data.max_skipped

    @property
    def description(self) -> str:
        """One-line description: `10000 images 28x28x1, 10 classes`."""
        size = f"{self.images} images {self.resolution.height}x{self.resolution.width}x{self.channels}"
        return f"{size}, {len(self.classes)} classes" if self.classes else f"{size}, no classes"

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of all tags, in order of first appearance in `class_tags`; of plain classes, their names."""
        return tuple(dict.fromkeys(chain.from_iterable(self.class_tags)))

    @property
    def tag_matrix(self) -> NDArray[np.float32]:
        """Tags of each class, float32 [classes, tags]: 1 if the class has the tag, else 0.

        Tags are in the order of `tags`; if every class is its own only tag, this is the identity.
        """
        column = {tag: index for index, tag in enumerate(self.tags)}
        matrix = np.zeros((len(self.class_tags), len(column)), np.float32)
        for row, tags in zip(matrix, self.class_tags, strict=True):
            row[[column[tag] for tag in tags]] = 1
        return matrix


def read_manifest(path: Path = paths.MANIFEST) -> Manifest:
    """Read the manifest of the prepared data. Raises DataError when it is missing or damaged."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; run `dvc repro` (or python -m training.preprocess) first") from None
    except ValidationError:
        raise DataError(f"{path} is damaged; delete it and run `dvc repro`") from None


def read_arrays(manifest: Manifest) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Open the prepared images uint8 [N, H, W, C], memory-mapped copy-on-write, and labels int64 [N].

    Raises DataError when they are missing or do not match the manifest's hash.
    """
    try:
        intact = data_sha256() == manifest.data_sha256
    except FileNotFoundError:
        raise DataError(f"{paths.IMAGES} or {paths.LABELS} does not exist; {PREPARE_AGAIN}") from None
    except ValueError:
        intact = False
    if not intact:
        raise DataError(
            f"{paths.IMAGES} and {paths.LABELS} are damaged: they are not what {paths.MANIFEST} lists; {PREPARE_AGAIN}"
        )
    return np.load(paths.IMAGES, mmap_mode="c"), np.load(paths.LABELS)


def data_sha256(images: Path = paths.IMAGES, labels: Path = paths.LABELS) -> str:
    """Hash the dtype, shape and bytes of both arrays. Raises ValueError for a broken .npy file."""
    digest = sha256()
    for path in (images, labels):
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            digest.update(f"{dtype.str}{shape}".encode())
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
