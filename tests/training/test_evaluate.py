"""Evaluation measures the served file, and what real images would score stands beside every figure."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from serving.generator import Generator
from tests.tiny_model import save, tiny_model
from tests.training.project import Project, tiny, write_params
from training import evaluate, paths, preprocess
from training.classifier import classify, train_classifier
from training.features import LITE0


def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that no one confuses: dark and bright noise."""
    rng = np.random.RandomState(0)
    labels = np.arange(count) % 3
    return (rng.randint(0, 60, (count, 28, 28, 3)) + 90 * labels[:, None, None, None]).astype(np.uint8), labels


def prepared(project: Project, classes: tuple[str, ...]) -> None:
    images, labels = pictures(48)
    np.savez("data.npz", images=images, labels=labels, classes=np.array(["cat", "dog", "eel"]))
    data = {"source": "data.npz", "resolution": 28, "channels": 3}
    measure = {"images": 16, "classifier_epochs": 6}
    write_params(project.folder, **tiny(data=data, train={"batch": 2}, evaluate=measure))
    preprocess.main()
    paths.MODEL.parent.mkdir()
    save(tiny_model(resolution=28, classes=classes), paths.MODEL)


def measured() -> dict[str, object]:
    evaluate.main()
    metrics: dict[str, object] = json.loads(paths.METRICS.read_text())
    return metrics


@pytest.mark.parametrize("classes", [("cat", "dog", "eel"), ()])
def test_every_figure_stands_beside_that_of_real_images(project: Project, classes: tuple[str, ...]) -> None:
    prepared(project, classes)
    metrics = measured()
    for name in ("kid", "fid", "precision", "recall", "diversity", "nearest_training"):
        assert isinstance(metrics[name], float), name
        assert isinstance(metrics[f"{name}_of_real"], float), name
    assert metrics["model_id"] == Generator.load(paths.MODEL, provider="cpu").model_id
    assert metrics["extractor"] == LITE0
    assert metrics["images"] == 16
    assert ("class_agreement" in metrics) == bool(classes)
    assert 0 <= float(str(metrics["class_coverage"])) <= 1


def test_noise_scores_worse_than_real_images(project: Project) -> None:
    prepared(project, ("cat", "dog", "eel"))
    metrics = measured()
    assert float(str(metrics["kid"])) > float(str(metrics["kid_of_real"]))
    assert float(str(metrics["fid"])) > float(str(metrics["fid_of_real"]))


def test_measuring_twice_gives_the_same_figures(project: Project) -> None:
    prepared(project, ("cat", "dog", "eel"))
    assert measured() == measured()


def test_the_sheet_shows_real_generated_and_nearest_images(project: Project) -> None:
    prepared(project, ("cat", "dog", "eel"))
    evaluate.main()
    panel = evaluate.SHEET_COLUMNS * 30 - 2
    assert Image.open(paths.EVALUATION_SHEET).size == (3 * panel + 2 * 16, 3 * 30 - 2)


def test_the_classifier_states_its_accuracy_on_images_it_has_not_seen() -> None:
    images, labels = pictures(300)
    classifier, accuracy = train_classifier(images, labels, classes=3, epochs=8, device=torch.device("cpu"))
    assert accuracy > 0.9
    assert (classify(classifier, images) == labels).mean() > 0.9

    shuffled = np.random.RandomState(1).permutation(labels)
    _, guessing = train_classifier(images, shuffled, classes=3, epochs=2, device=torch.device("cpu"))
    assert guessing < 0.6
