"""Evaluation measures the served file, and what real images would score stands beside every figure."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from serving.inference.generator import OnnxGenerator
from tests.tiny_model import save, tiny_model
from tests.training.project import Project, tiny, write_params
from training import evaluate, paths, preprocess
from training.evaluation.classifier import classify, train_classifier
from training.evaluation.features import EFFICIENTNET_LITE0
from training.evaluation.metrics import nearest_neighbours


def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that no one confuses: dark, middling and bright noise."""
    rng = np.random.RandomState(0)
    labels = np.arange(count) % 3
    return (rng.randint(0, 60, (count, 28, 28, 3)) + 90 * labels[:, None, None, None]).astype(np.uint8), labels


def prepared(
    project: Project, images: np.ndarray, labels: np.ndarray | None, model_classes: tuple[str, ...], epochs: int = 1
) -> None:
    """A project with these images and a model that makes noise. Classes are named by their number."""
    np.savez("data.npz", images=images, **({} if labels is None else {"labels": labels}))
    data = {"source": "data.npz", "resolution": 28, "channels": images.shape[3]}
    measure = {"images": 16, "classifier_epochs": epochs}
    write_params(project.folder, **tiny(data=data, train={"batch": 2}, evaluate=measure))
    preprocess.main()
    paths.MODEL.parent.mkdir()
    save(tiny_model(resolution=28, channels=images.shape[3], classes=model_classes), paths.MODEL)


def measured() -> dict[str, Any]:
    """What evaluation writes, read as strictly as JSON is defined."""
    evaluate.main()
    metrics: dict[str, Any] = json.loads(paths.METRICS.read_text(), parse_constant=pytest.fail)
    return metrics


MEMORISED = {"memorised", "memorised_of_real"}  # these need a hundred real images on each side


@pytest.mark.parametrize("classes", [("0", "1", "2"), ()])
def test_every_figure_stands_beside_that_of_real_images(project: Project, classes: tuple[str, ...]) -> None:
    prepared(project, *pictures(48), classes, epochs=6)
    metrics = measured()
    for name in ("kid", "kid_std", "fid", "precision", "recall", "diversity", "nearest_training"):
        assert isinstance(metrics[name], float), name
        assert isinstance(metrics[f"{name}_of_real"], float), name
    assert metrics["kid"] > metrics["kid_of_real"]  # the model makes noise
    assert metrics["fid"] > metrics["fid_of_real"]
    assert metrics["model_id"] == OnnxGenerator.load(paths.MODEL, provider="cpu").model_id
    assert metrics["extractor"] == EFFICIENTNET_LITE0
    assert metrics["images"] == 16
    assert ("class_agreement" in metrics) == bool(classes)
    assert 0 <= metrics["class_coverage"] <= 1
    assert set(metrics["omitted"]) == MEMORISED
    panel = evaluate.SHEET_COLUMNS * 30 - 2
    assert Image.open(paths.EVALUATION_GRID).size[0] == 3 * panel + 2 * 16
    if classes:
        assert measured() == metrics  # with the features of real images that the first time left


def noise(count: int) -> np.ndarray:
    return np.random.RandomState(1).randint(0, 256, (count, 28, 28, 1)).astype(np.uint8)


NEED_SIDES = {"kid", "kid_std", "precision", "recall"}
NEED_TWO_OF_A_CLASS = {"diversity", "classifier_accuracy", "class_coverage", "class_agreement"}


@pytest.mark.parametrize(
    ("images", "labels", "left_out"),
    [
        (noise(1), None, NEED_SIDES | {"fid", "diversity", "nearest_training"}),
        (noise(2), None, NEED_SIDES | {"fid", "diversity"}),
        (noise(7), None, NEED_SIDES),
        (noise(16), np.arange(16), NEED_TWO_OF_A_CLASS),
        (noise(2200), np.arange(2200) % 1100, {"diversity"}),
        (np.full((8, 28, 28, 1), 90, np.uint8), np.arange(8) % 2, set()),
    ],
    ids=["one", "two", "seven", "sixteen classes of one", "1,100 classes of two", "eight identical"],
)
def test_a_figure_that_the_data_is_too_small_for_is_left_out_with_the_reason(
    project: Project,
    capsys: pytest.CaptureFixture[str],
    images: np.ndarray,
    labels: np.ndarray | None,
    left_out: set[str],
) -> None:
    classes = () if labels is None else tuple(str(label) for label in np.unique(labels))
    prepared(project, images, labels, classes)
    metrics = measured()
    omitted = metrics.pop("omitted", {})
    assert {name.removesuffix("_of_real") for name in set(omitted) - MEMORISED} == left_out
    assert set(omitted) >= MEMORISED
    assert all(reason.startswith("needs ") for reason in omitted.values())
    assert not set(omitted) & set(metrics)
    printed = capsys.readouterr().out.splitlines()[-1]
    assert printed.startswith("evaluated models/generator.onnx on ")
    assert "left out: " in printed
    if "class_agreement" in metrics:
        assert set(metrics["class_agreement_by_class"]) == set(classes)


def test_copies_among_generated_images_are_counted_beside_those_among_real_ones() -> None:
    images, index = noise(300), np.arange(300)
    made = np.concatenate([images[:60], noise(360)[300:]])[:, :, ::-1]  # 60 mirrored copies, and 60 that are new
    first, second = index[:120], index[120:240]
    sample = evaluate.Sample(made, images[first], images[second], first, second, np.zeros(120, np.int64))
    _, gaps = nearest_neighbours(made, images)
    metrics = evaluate.neighbour_metrics(sample, images, gaps)
    assert metrics["memorised"] == pytest.approx(0.5, abs=0.05)
    assert metrics["memorised_of_real"] < 0.1


def test_a_figure_that_is_no_number_is_named_and_not_written() -> None:
    metrics = {"kid": float("nan"), "fid": 1.0, "recall": evaluate.Omitted("needs more")}
    assert evaluate.split_omitted(metrics) == {
        "fid": 1.0,
        "omitted": {"kid": "has no finite value for these images", "recall": "needs more"},
    }


def test_the_classifier_states_its_accuracy_on_images_it_has_not_seen() -> None:
    images, labels = pictures(300)
    classifier, accuracy = train_classifier(images, labels, classes=3, epochs=8, device=torch.device("cpu"))
    assert accuracy > 0.9
    assert (classify(classifier, images) == labels).mean() > 0.9

    shuffled = np.random.RandomState(1).permutation(labels)
    _, guessing = train_classifier(images, shuffled, classes=3, epochs=2, device=torch.device("cpu"))
    assert guessing < 0.6


def test_a_classifier_does_not_depend_on_the_number_of_threads() -> None:
    images, labels = pictures(400)
    threads, seen = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            classifier, _ = train_classifier(images, labels, classes=3, epochs=4, device=torch.device("cpu"))
            assert torch.get_num_threads() == count
            torch.set_num_threads(1)
            with torch.no_grad():
                seen.append(classifier(torch.from_numpy(images[:64])))
    finally:
        torch.set_num_threads(threads)
    assert torch.allclose(*seen, atol=1e-4)
