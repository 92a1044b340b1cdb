"""Provenance of the prepared data: the default model name and the licence of the images.

Derived from the data alone, so that a model never carries the name and licence of another data set. `preprocess` writes
it to the manifest, and the model card takes it from there wherever params.yaml says `auto`.
"""

import re
import unicodedata
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from training import paths
from training.data.sources.arrays import find_idx_files
from training.data.sources.torchvision_datasets import PREFIX

AUTO = "auto"  # value in params.yaml of settings that follow from the data
MAX_NAME_LENGTH = 64
FALLBACK_NAME = "images"  # for sources whose name has no usable character
UNKNOWN_LICENCE = "licence not stated"
ARCHIVE = re.compile(r"(\.tar)?\.(zip|tar|tgz|tbz2?|txz|gz|bz2|xz|npz)$", re.IGNORECASE)
FASHION_MNIST = ("fashion-mnist", "Trained on Fashion-MNIST (MIT, Zalando SE)")
# Recognised by content, not by path: its folder may hold other images, and the file may have been moved.
EMBEDDED_FILE = "t10k-images-idx3-ubyte.gz"
EMBEDDED_SHA256 = "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"
KNOWN_DATASETS = {
    "FashionMNIST": FASHION_MNIST,
    "MNIST": ("mnist", "Trained on MNIST (CC BY-SA 3.0, Yann LeCun and Corinna Cortes)"),
    "CIFAR10": ("cifar-10", "Trained on CIFAR-10 (Krizhevsky 2009); licence not stated by its authors"),
    "Flowers102": (
        "flowers-102",
        "Trained on Oxford 102 Flowers (Nilsback and Zisserman 2008); licence not stated by its authors",
    ),
    "CelebA": ("celeba", "Trained on CelebA (Liu et al. 2015), for non-commercial research only"),
}


@dataclass(frozen=True)
class Provenance:
    """Public provenance of the images, without paths of the machine."""

    source: str  # last component of data.source
    name: str  # default model name, valid as `name` in params.yaml
    licence: str


def provenance(source: str) -> Provenance:
    """Return the provenance of an existing data.source: known for built-in data sets, else from its base name."""
    if source.startswith(PREFIX):
        return Provenance(
            source, *KNOWN_DATASETS.get(source.removeprefix(PREFIX), (model_name(source), UNKNOWN_LICENCE))
        )
    last = base_name(source)
    if _is_embedded(paths.expand_user_path(source)):
        return Provenance(last, *FASHION_MNIST)
    return Provenance(last, model_name(last), UNKNOWN_LICENCE)


def base_name(path: str) -> str:
    """Return the last component of a path: `faces` for `../faces/`, the current folder's name for `.`."""
    own = paths.expand_user_path(path)
    return own.resolve().name if own.name in ("", "..") else own.name


def model_name(text: str) -> str:
    """Turn any text into a valid model name: `Blüten (2).tar.gz` gives `bluten-2`."""
    plain = unicodedata.normalize("NFKD", ARCHIVE.sub("", text)).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._]+", "-", plain).strip("-._")[:MAX_NAME_LENGTH].rstrip("-._") or FALLBACK_NAME


def _is_embedded(path: Path) -> bool:
    if not path.is_dir() or [match.string for match in find_idx_files(path)] != [EMBEDDED_FILE]:
        return False
    with (path / EMBEDDED_FILE).open("rb") as file:
        return file_digest(file, "sha256").hexdigest() == EMBEDDED_SHA256
