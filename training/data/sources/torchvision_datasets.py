"""torchvision data sets by name, downloaded on first use. torchvision and torch are imported only then."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path

import numpy as np

from serving.error_messages import did_you_mean
from training.data.manifest import DataError
from training.data.sources.arrays import array_items, with_labels
from training.data.sources.base import Item, Source, read_file

PREFIX = "torchvision:"
DOWNLOAD_TIMEOUT_S = 20.0  # without data from the server


def dataset_name(source: str) -> str:
    """Return the NAME of `torchvision:NAME`. Raises DataError for an unsupported one."""
    name = source.removeprefix(PREFIX)
    if name not in DATASETS:
        hint = did_you_mean(name, DATASETS, otherwise=f"choose one of {', '.join(DATASETS)}")
        raise DataError(f"params.yaml: data.source = {source!r} is not a data set that Mint knows; {hint}")
    return name


def dataset_source(source: str, root: Path) -> Source:
    """Open the data set `torchvision:NAME`, downloading it to `root` if it is missing there.

    Raises DataError for an unsupported name and for a failed download.
    """
    name = dataset_name(source)
    root.mkdir(parents=True, exist_ok=True)
    try:
        with _socket_timeout():
            return DATASETS[name](root)
    except (OSError, RuntimeError, ImportError, HTTPException) as error:
        cause = " ".join(str(error).split())
        raise DataError(
            f"params.yaml: data.source = {source!r} could not be downloaded to {root} ({cause}); "
            "try again with a network, or set data.source to a folder of images"
        ) from None


@contextmanager
def _socket_timeout() -> Iterator[None]:
    """Set a default socket timeout; torchvision has none and hangs behind a firewall that drops packets."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _mnist_like(name: str, root: Path) -> Source:
    """Load the 60,000 training images of MNIST or Fashion-MNIST."""
    from torchvision import datasets

    data = getattr(datasets, name)(root, train=True, download=True)
    return with_labels(array_items(data.data.numpy(), name), data.targets.numpy(), data.classes, name)


def _cifar10(root: Path) -> Source:
    """Load the 50,000 training images."""
    from torchvision.datasets import CIFAR10

    data = CIFAR10(root, train=True, download=True)
    return with_labels(array_items(np.asarray(data.data), "CIFAR10"), data.targets, data.classes, "CIFAR10")


def _flowers102(root: Path) -> Source:
    """Load all 8,189 images: the training split alone has ten per class."""
    from torchvision.datasets import Flowers102

    items = []
    for split in ("train", "val", "test"):
        # `str` as the loader returns the path instead of the decoded image.
        data = Flowers102(root, split, download=True, loader=str)
        items += [
            Item(Path(path).name, partial(read_file, Path(path)), int(label))
            for path, label in (data[index] for index in range(len(data)))
        ]
    return Source(items, list(Flowers102.classes))


def _celeba(root: Path) -> Source:
    """Load all 202,599 aligned faces, unlabelled: the forty attributes overlap and are not classes."""
    from torchvision.datasets import CelebA

    data = CelebA(root, split="all", download=True)
    folder = root / data.base_folder / "img_align_celeba"
    return Source([Item(name, partial(read_file, folder / name)) for name in data.filename])


DATASETS: dict[str, Callable[[Path], Source]] = {
    "FashionMNIST": partial(_mnist_like, "FashionMNIST"),
    "MNIST": partial(_mnist_like, "MNIST"),
    "CIFAR10": _cifar10,
    "Flowers102": _flowers102,
    "CelebA": _celeba,
}
