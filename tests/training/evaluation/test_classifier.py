"""Classifier of generated images: held-out accuracy, and the same result with any number of threads."""

import numpy as np
import torch

from tests.training.test_evaluate import CPU, pictures
from training.evaluation.classifier import classify, train_classifier


def test_accuracy_is_measured_on_held_out_images() -> None:
    images, labels = pictures(300)
    classifier, accuracy = train_classifier(images, labels, classes=3, epochs=8, device=CPU)
    assert accuracy > 0.9
    assert (classify(classifier, images) == labels).mean() > 0.9

    shuffled = np.random.RandomState(1).permutation(labels)
    _, chance_accuracy = train_classifier(images, shuffled, classes=3, epochs=2, device=CPU)
    assert chance_accuracy < 0.6


def test_training_does_not_depend_on_the_number_of_threads() -> None:
    images, labels = pictures(400)
    threads, logits = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            classifier, _ = train_classifier(images, labels, classes=3, epochs=4, device=CPU)
            assert torch.get_num_threads() == count
            torch.set_num_threads(1)
            with torch.no_grad():
                logits.append(classifier(torch.from_numpy(images[:64])))
    finally:
        torch.set_num_threads(threads)
    assert torch.allclose(*logits, atol=1e-4)
