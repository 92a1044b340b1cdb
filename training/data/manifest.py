"""What `preprocess` made and what it made it from: data/prepared/manifest.json, read by every later stage."""

from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import MintError
from training import paths

BLOCK = 1 << 20  # bytes hashed at a time
PREPARE_AGAIN = f"delete {paths.MANIFEST} and run `dvc repro` (or python -m training.preprocess) to prepare them again"


class DataError(MintError):
    """The data cannot be prepared, or was not: missing, damaged, or at odds with params.yaml."""


class FrozenModel(BaseModel):
    """A part of the manifest: immutable and complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SkippedFile(FrozenModel):
    """A file that was to become an image and could not."""

    file: str
    reason: str


class IgnoredFiles(FrozenModel):
    """Files beside the pictures that nobody meant to train on: system files, captions, pictures in no class folder."""

    kind: str  # in the plural: ".txt files"
    files: int
    examples: tuple[str, ...]


class Counts(FrozenModel):
    """Where the pictures of the source went: files = untagged + with unknown tags + beyond_limit + candidates."""

    files: int  # found in the source; without Manifest.left_out
    untagged: int = 0  # without a row in the CSV of labels
    unknown_tags: dict[str, int] = {}  # files by tag or combination that the CSV's classes.txt does not list
    unknown_files: int = 0  # rows of the CSV whose file the source does not hold
    beyond_limit: int = 0  # left out by data.limit
    candidates: int = 0  # the rest: each one was opened, and became an image or was skipped
    skipped: int = 0
    enlarged: int = 0  # of those that became images: smaller than the resolution


class Manifest(FrozenModel):
    """The prepared arrays in figures. Holds no date and no path, so equal data has equal manifests."""

    source: str  # what data.source names, without the folders above it
    name: str  # of a model of this data, where params.yaml leaves it to the data
    licence: str  # what is known of the images' licence, likewise
    images: int
    resolution: int  # side in pixels
    channels: int  # 1 grey, 3 RGB
    classes: tuple[str, ...]  # names in label order; empty where the data has no labels
    class_tags: tuple[tuple[str, ...], ...]  # the tags of each of `classes`; its own name where it combines none
    images_per_class: dict[str, int]
    empty_classes: tuple[str, ...]  # named by the source but without a single image, so not in `classes`
    data_sha256: str  # of images.npy and labels.npy, see data_sha256()
    source_sha256: str  # of the names and bytes of the files that became images
    counts: Counts
    skipped: tuple[SkippedFile, ...]
    left_out: tuple[IgnoredFiles, ...] = ()  # the most frequent kind first; not counted against data.max_skipped

    @property
    def shape(self) -> str:
        """The data in words: `10000 images 28x28x1, 10 classes`."""
        size = f"{self.images} images {self.resolution}x{self.resolution}x{self.channels}"
        return f"{size}, {len(self.classes)} classes" if self.classes else f"{size}, no classes"

    @property
    def tag_matrix(self) -> NDArray[np.float32]:
        """Which class has which tag: [classes, tags] float32, 1 where it has it and 0 elsewhere.

        Tags are in the order in which `class_tags` first names them, so that where every class is its own only tag
        the table is the identity.
        """
        column = {tag: index for index, tag in enumerate(dict.fromkeys(chain.from_iterable(self.class_tags)))}
        table = np.zeros((len(self.class_tags), len(column)), np.float32)
        for row, tags in zip(table, self.class_tags, strict=True):
            row[[column[tag] for tag in tags]] = 1
        return table


def read_manifest(path: Path = paths.MANIFEST) -> Manifest:
    """The manifest of the prepared data. Raises DataError where there is none or it is damaged."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; run `dvc repro` (or python -m training.preprocess) first") from None
    except ValidationError:
        raise DataError(f"{path} is damaged; delete it and run `dvc repro`") from None


def read_arrays(manifest: Manifest) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The prepared images [N, H, W, C], copied from the disk as they are used and changed, and labels [N].

    Raises DataError where they are missing, or not those that the manifest vouches for.
    """
    try:
        whole = data_sha256() == manifest.data_sha256
    except FileNotFoundError:
        raise DataError(f"{paths.IMAGES} or {paths.LABELS} does not exist; {PREPARE_AGAIN}") from None
    except ValueError:
        whole = False
    if not whole:
        raise DataError(
            f"{paths.IMAGES} and {paths.LABELS} are damaged: they are not what {paths.MANIFEST} lists; {PREPARE_AGAIN}"
        )
    return np.load(paths.IMAGES, mmap_mode="c"), np.load(paths.LABELS)


def data_sha256(images: Path = paths.IMAGES, labels: Path = paths.LABELS) -> str:
    """Hash of the type, shape and bytes of both arrays, read in blocks. Raises ValueError for a broken .npy file."""
    digest = sha256()
    for path in (images, labels):
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            digest.update(f"{dtype.str}{shape}".encode())
            while block := file.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()
