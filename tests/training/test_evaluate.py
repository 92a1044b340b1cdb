"""Evaluation of the exported file: metrics that expose broken generators, real baselines, omitted metrics."""

import json
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image

from serving.inference.generator import OnnxGenerator
from tests.tiny_model import save, tiny_card, tiny_model, with_card
from tests.training.project import Project, tiny, write_params
from training import evaluate, paths, preprocess
from training.data.manifest import read_manifest
from training.evaluation.features import MOBILENET_V2
from training.params import load_params

CPU = torch.device("cpu")


def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that are easy to tell apart: dark, medium and bright noise."""
    rng = np.random.RandomState(0)
    labels = np.arange(count) % 3
    return (rng.randint(0, 60, (count, 28, 28, 3)) + 90 * labels[:, None, None, None]).astype(np.uint8), labels


def prepared(
    project: Project, images: np.ndarray, labels: np.ndarray | None, model_classes: tuple[str, ...], epochs: int = 1
) -> None:
    """A project with these images and a model that generates noise. Classes are named by their number."""
    np.savez("data.npz", images=images, **({} if labels is None else {"labels": labels}))
    data = {"source": "data.npz", "resolution": 28, "channels": images.shape[3]}
    measure = {"images": 16, "classifier_epochs": epochs}
    write_params(project.folder, **tiny(data=data, train={"batch": 2}, evaluate=measure))
    preprocess.main()
    paths.CANDIDATE.mkdir(parents=True)
    save(tiny_model(resolution=28, channels=images.shape[3], classes=model_classes), paths.CANDIDATE_MODEL)


def evaluated() -> dict[str, Any]:
    """Contents of the candidate's metrics.json after an evaluation, parsed as strict JSON."""
    evaluate.main()
    metrics: dict[str, Any] = json.loads(paths.CANDIDATE_METRICS.read_text(), parse_constant=pytest.fail)
    return metrics


MEMORISATION = {"memorised", "memorised_of_real"}  # need 20 images, and a model card with the first


@pytest.mark.parametrize("classes", [("0", "1", "2"), ()])
def test_every_metric_has_a_real_baseline(project: Project, classes: tuple[str, ...]) -> None:
    prepared(project, *pictures(48), classes, epochs=6)
    metrics = evaluated()
    for name in ("kid", "kid_std", "fid", "precision", "recall", "diversity", "nearest_training"):
        assert isinstance(metrics[name], float), name
        assert isinstance(metrics[f"{name}_of_real"], float), name
    assert metrics["model_id"] == OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu").model_id
    assert metrics["extractor"] == MOBILENET_V2
    assert metrics["images"] == 16
    assert ("class_agreement" in metrics) == bool(classes)
    assert 0 <= metrics["class_coverage"] <= 1
    assert set(metrics["omitted"]) == {"memorised"}
    panel = evaluate.GRID_COLUMNS * 30 - 2
    assert Image.open(paths.CANDIDATE_GRID).size[0] == 3 * panel + 2 * 16
    if classes:
        assert evaluated() == metrics  # from the cached features of real images


@pytest.fixture
def shared_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One working directory for several tests, so that the features of the real images are extracted once."""
    folder = tmp_path_factory.getbasetemp() / "evaluation"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)


def score(generated: np.ndarray) -> dict[str, float]:
    """Feature metrics of 60 generated images against two sets of 60 of `pictures`."""
    images, labels = pictures(120)
    a, b = np.arange(60), np.arange(60, 120)
    sample = evaluate.Sample(generated, images[a], images[b], b, labels[b])
    return evaluate.feature_metrics(sample, MOBILENET_V2, CPU)


def unseen(count: int) -> np.ndarray:
    """More of `pictures`, as a perfect generator would make them."""
    return pictures(120 + count)[0][120:]


def test_a_perfect_generator_scores_as_the_real_baseline(shared_folder: None) -> None:
    metrics = score(unseen(60))
    assert metrics["kid"] == pytest.approx(metrics["kid_of_real"], abs=0.01)
    assert metrics["fid"] == pytest.approx(metrics["fid_of_real"], rel=0.3)
    assert metrics["precision"] == pytest.approx(metrics["precision_of_real"], abs=0.15)
    assert metrics["recall"] == pytest.approx(metrics["recall_of_real"], abs=0.15)
    assert metrics["diversity"] == pytest.approx(metrics["diversity_of_real"], rel=0.1)


@pytest.mark.parametrize(
    ("generated", "low"),
    [
        (np.random.RandomState(1).randint(0, 256, (60, 28, 28, 3)), {"precision", "recall"}),
        (unseen(60)[:1].repeat(60, axis=0), {"recall", "diversity"}),
        (unseen(60)[::3].repeat(3, axis=0), {"recall"}),
        (
            unseen(60).mean((1, 2, 3), keepdims=True).repeat(28, 1).repeat(28, 2).repeat(3, 3),
            {"precision", "diversity"},
        ),
    ],
    ids=["noise", "one image", "one class", "no texture"],
)
def test_a_broken_generator_scores_far_below_the_real_baseline(
    shared_folder: None, generated: np.ndarray, low: set[str]
) -> None:
    metrics = score(generated.astype(np.uint8))
    assert metrics["kid"] > metrics["kid_of_real"] + 10 * metrics["kid_std_of_real"]
    assert metrics["fid"] > 3 * metrics["fid_of_real"]
    for name in low:
        assert metrics[name] < 0.4 * metrics[f"{name}_of_real"], name


@pytest.mark.parametrize(
    ("brightness", "agreement", "coverage"),
    [((30, 120, 210), 1.0, 1.0), ((210, 30, 120), 0.0, 1.0), ((30, 30, 30), 1 / 3, 1 / 3)],
    ids=["right classes", "swapped classes", "one class"],
)
def test_class_metrics_recognise_the_classes_that_a_generator_makes(
    project: Project, brightness: tuple[int, ...], agreement: float, coverage: float
) -> None:
    images, labels = pictures(240)
    prepared(project, images, labels, ("0", "1", "2"), epochs=8)
    save(model_of_brightness(brightness), paths.CANDIDATE_MODEL)
    generator = OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu")
    sample = evaluate.build_sample(generator, images, labels, 60)
    metrics = evaluate.class_metrics(generator, sample, images, labels, read_manifest(), load_params().evaluate, CPU)
    assert metrics["classifier_accuracy"] > 0.9
    assert metrics["class_agreement"] == pytest.approx(agreement, abs=0.1)
    assert metrics["class_coverage"] == pytest.approx(coverage, abs=0.01)


def model_of_brightness(brightness: tuple[int, ...]) -> onnx.ModelProto:
    """A model whose images are noise around one brightness per class, 0..255."""
    model = tiny_model(resolution=28, classes=[str(label) for label in range(len(brightness))])
    unit = np.array(brightness, np.float32)[:, None] / 255
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, value in {
        "kernel": numpy_helper.to_array(tensors["kernel"]) / 10,
        "bias": np.zeros(28 * 28 * 3, np.float32),
        "by_class": np.log(unit / (1 - unit)).repeat(28 * 28 * 3, axis=1),
    }.items():
        tensors[name].CopyFrom(numpy_helper.from_array(value, name))
    return model


def noise(count: int) -> np.ndarray:
    return np.random.RandomState(1).randint(0, 256, (count, 28, 28, 1)).astype(np.uint8)


NEED_SIDES = {"kid", "kid_std", "precision", "recall"}
NEED_TWO_OF_A_CLASS = {"diversity", "classifier_accuracy", "class_coverage", "class_agreement"}


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
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
def test_a_metric_that_the_data_is_too_small_for_is_omitted_with_the_reason(
    project: Project,
    capsys: pytest.CaptureFixture[str],
    images: np.ndarray,
    labels: np.ndarray | None,
    expected: set[str],
) -> None:
    classes = () if labels is None else tuple(str(label) for label in np.unique(labels))
    prepared(project, images, labels, classes)
    metrics = evaluated()
    omitted = metrics.pop("omitted", {})
    assert {name.removesuffix("_of_real") for name in set(omitted) - MEMORISATION} == expected
    assert set(omitted) >= ({"memorised"} if len(images) >= 20 else MEMORISATION)
    assert all(reason.startswith("needs ") for reason in omitted.values())
    assert not set(omitted) & set(metrics)
    printed = capsys.readouterr().out.splitlines()[-1]
    assert printed.startswith("evaluated models/candidate/generator.onnx on ")
    assert "left out: " in printed
    if "class_agreement" in metrics:
        assert set(metrics["class_agreement_by_class"]) == set(classes)


@pytest.mark.parametrize(("memorised", "warned"), [(0.05, False), (0.06, True)])
def test_the_share_of_near_copies_is_the_cards_and_above_5_percent_the_last_line_warns_of_it(
    project: Project, capsys: pytest.CaptureFixture[str], memorised: float, warned: bool
) -> None:
    prepared(project, noise(40), None, ())
    card = tiny_card(1, (), 28, memorised=memorised)
    save(with_card(tiny_model(1, (), resolution=28), card), paths.CANDIDATE_MODEL)
    metrics = evaluated()
    assert metrics["memorised"] == memorised
    assert metrics["memorised_of_real"] == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("warning: 6% of its images are near-copies of training images") == warned


def test_evaluation_says_what_it_is_doing_before_it_starts(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(project, noise(8), None, ())
    evaluate.main()
    assert "evaluating models/candidate/generator.onnx against 8 images" in capsys.readouterr().out


def test_a_metric_that_is_not_finite_is_omitted_with_the_reason() -> None:
    metrics = {"kid": float("nan"), "fid": 1.0, "recall": evaluate.Omitted("needs more")}
    assert evaluate.split_omitted(metrics) == {
        "fid": 1.0,
        "omitted": {"kid": "has no finite value for these images", "recall": "needs more"},
    }
