"""A small classifier of the prepared data: it says which class a generated image looks like.

It never sees a generated image in training, and how often it is right on real images that it has not seen is
stated beside whatever it says.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

LARGEST_SIDE = 64  # pixels; larger images are classified at this side
BATCH = 128
PEAK_LR = 4e-3
TEST_FRACTION = 0.2  # share of the data that measures the classifier


class Classifier(nn.Module):
    """Three convolutions and a linear layer: images uint8 [N, H, W, C] -> logits [N, classes]."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = (channels, 32, 64, 128)
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(True), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128 * 4, classes))

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        if pixels.shape[-1] > LARGEST_SIDE:
            pixels = interpolate(pixels, (LARGEST_SIDE, LARGEST_SIDE), mode="area")
        logits: Tensor = self.layers(pixels)
        return logits


def train_classifier(
    images: NDArray[np.uint8], labels: NDArray[np.int64], classes: int, epochs: int, device: torch.device
) -> tuple[Classifier, float]:
    """Trains on four fifths of the data; returns the classifier and its accuracy on the last fifth, 0..1.

    The data needs two images. On a CPU equal data gives equal figures, however many threads there are: `one_thread`.
    """
    with single_threaded():
        return _train(images, labels, classes, epochs, device)


@contextmanager
def single_threaded() -> Iterator[None]:
    """While open, torch adds up in one order on every machine.

    With another number of threads sums round otherwise, and a few hundred steps of training make that a classifier of
    its own, whose view of some images differs.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(
    images: NDArray[np.uint8], labels: NDArray[np.int64], classes: int, epochs: int, device: torch.device
) -> tuple[Classifier, float]:
    torch.manual_seed(0)
    order = np.random.RandomState(0).permutation(len(images))
    held_out, kept = np.split(order, [max(1, round(len(order) * TEST_FRACTION))])
    classifier = Classifier(images.shape[3], classes).to(device)
    optimizer = Adam(classifier.parameters(), lr=PEAK_LR, weight_decay=1e-4)
    batches = max(1, len(kept) // BATCH)
    schedule = OneCycleLR(optimizer, PEAK_LR, total_steps=epochs * batches)
    for _ in range(epochs):
        for chosen in np.array_split(np.random.RandomState(schedule.last_epoch).permutation(kept), batches):
            logits = classifier(torch.from_numpy(images[chosen]).to(device))
            loss = cross_entropy(logits, torch.from_numpy(labels[chosen]).to(device), label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    classifier.eval()
    accuracy = (classify(classifier, images[held_out]) == labels[held_out]).mean()
    return classifier, float(accuracy)


@torch.no_grad()
def classify(classifier: Classifier, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The likeliest class of each image uint8 [N, H, W, C]: int64 [N]."""
    device = next(classifier.parameters()).device
    with single_threaded():
        found = [
            classifier(torch.from_numpy(images[start : start + 512]).to(device)).argmax(1).cpu()
            for start in range(0, len(images), 512)
        ]
    predicted: NDArray[np.int64] = torch.cat(found).numpy()
    return predicted
