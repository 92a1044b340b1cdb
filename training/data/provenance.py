"""Provenance of the prepared data: what a model of it is called, and what is known of the images' licence.

Follows from the data alone, so that one set's name and licence cannot stand on a model of another. `preprocess`
notes it in the manifest; the card takes it from there wherever params.yaml says `auto`.
"""

import re
import unicodedata
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from training import paths
from training.data.sources.arrays import idx_files
from training.data.sources.torchvision_datasets import PREFIX

AUTO = "auto"  # what params.yaml says where the data decides
LONGEST_NAME = 64
NAMELESS = "images"  # the name where nothing of the source's own is left
UNSTATED = "licence not stated"
ARCHIVE = re.compile(r"(\.tar)?\.(zip|tar|tgz|tbz2?|txz|gz|bz2|xz|npz)$", re.IGNORECASE)
FASHION_MNIST = ("fashion-mnist", "Trained on Fashion-MNIST (MIT, Zalando SE)")
# The images of the embedded split, wherever the file lies; its folder may have been filled with others.
EMBEDDED_FILE = "t10k-images-idx3-ubyte.gz"
EMBEDDED_SHA256 = "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"
NAMED = {
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
    """What may be told to everybody about where images came from: no path of the machine that had them."""

    source: str  # what data.source names, without the folders above it
    name: str  # of a model trained on it, as `name` in params.yaml has to be
    licence: str


def provenance(source: str) -> Provenance:
    """The provenance of a data.source that exists: of data sets that Mint knows their own, else by the last name."""
    if source.startswith(PREFIX):
        return Provenance(source, *NAMED.get(source.removeprefix(PREFIX), (model_name(source), UNSTATED)))
    last = base_name(source)
    if _is_embedded(paths.expand_user_path(source)):
        return Provenance(last, *FASHION_MNIST)
    return Provenance(last, model_name(last), UNSTATED)


def base_name(path: str) -> str:
    """The name of a file or folder without those above it: `../faces/` gives `faces`, `.` the current folder's."""
    own = paths.expand_user_path(path)
    return own.resolve().name if own.name in ("", "..") else own.name


def model_name(text: str) -> str:
    """A name as params.yaml takes it, from any text: `Blüten (2).tar.gz` gives `bluten-2`."""
    plain = unicodedata.normalize("NFKD", ARCHIVE.sub("", text)).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._]+", "-", plain).strip("-._")[:LONGEST_NAME].rstrip("-._") or NAMELESS


def _is_embedded(path: Path) -> bool:
    if not path.is_dir() or [match.string for match in idx_files(path)] != [EMBEDDED_FILE]:
        return False
    with (path / EMBEDDED_FILE).open("rb") as file:
        return file_digest(file, "sha256").hexdigest() == EMBEDDED_SHA256
