"""Small image classifier, trained on the prepared data, that recognises the class of a generated image.

It is trained on real images only. Its accuracy on held-out real images is reported next to every figure based on it.
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

from training.progress import track

MAX_SIDE = 32  # pixels; larger images are downscaled to this side: at 64 px training takes four times as long
BATCH_SIZE = 128
PEAK_LR = 4e-3
TEST_FRACTION = 0.2  # of the data, held out to measure the accuracy


class Classifier(nn.Module):
    """Three convolutions and a linear layer: images uint8 [N, H, W, C] -> logits [N, classes]."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = (channels, 32, 64, 128)
        for in_channels, out_channels in pairwise(widths):
            layers += [
                nn.Conv2d(in_channels, out_channels, 3, padding=1),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(True),
                nn.MaxPool2d(2),
            ]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128 * 4, classes))

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        if max(pixels.shape[-2:]) > MAX_SIDE:
            pixels = interpolate(pixels, (MAX_SIDE, MAX_SIDE), mode="area")
        logits: Tensor = self.layers(pixels)
        return logits


def train_classifier(
    images: NDArray[np.uint8], labels: NDArray[np.int64], classes: int, epochs: int, device: torch.device
) -> tuple[Classifier, float]:
    """Train on four fifths of the data; return the classifier and its accuracy on the last fifth, 0..1.

    Needs at least two images. On a CPU the result does not depend on the number of threads: see `single_threaded`.
    """
    with single_threaded():
        return _train(images, labels, classes, epochs, device)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run torch on one thread, so that it sums in the same order on every machine.

    Sums round differently with another number of threads, and a few hundred training steps amplify that to different
    predictions for some images.
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
    shuffled = np.random.RandomState(0).permutation(len(images))
    test, train = np.split(shuffled, [max(1, round(len(shuffled) * TEST_FRACTION))])
    classifier = Classifier(images.shape[3], classes).to(device)
    optimizer = Adam(classifier.parameters(), lr=PEAK_LR, weight_decay=1e-4)
    batches = max(1, len(train) // BATCH_SIZE)
    schedule = OneCycleLR(optimizer, PEAK_LR, total_steps=epochs * batches)
    minibatches = (
        batch
        for epoch in range(epochs)
        for batch in np.array_split(np.random.RandomState(epoch * batches).permutation(train), batches)
    )
    for batch in track(minibatches, epochs * batches, "training the classifier, step"):
        logits = classifier(torch.from_numpy(images[batch]).to(device))
        loss = cross_entropy(logits, torch.from_numpy(labels[batch]).to(device), label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    classifier.eval()
    accuracy = (classify(classifier, images[test]) == labels[test]).mean()
    return classifier, float(accuracy)


@torch.no_grad()
def classify(classifier: Classifier, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Most likely class of each image: uint8 [N, H, W, C] -> int64 [N]."""
    device = next(classifier.parameters()).device
    with single_threaded():
        predictions = [
            classifier(torch.from_numpy(images[start : start + 512]).to(device)).argmax(1).cpu()
            for start in range(0, len(images), 512)
        ]
    classes: NDArray[np.int64] = torch.cat(predictions).numpy()
    return classes
