"""`make compare`: two models on one page, from files, runs, experiments and revisions, without a network."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from playwright.sync_api import Browser, Page

from serving.encoding.images import contact_sheet
from serving.errors import MintError
from serving.inference.generator import OnnxGenerator
from tests.browser import chromium
from tests.live_service import ROOT
from tests.tiny_model import save, tiny_card, tiny_model, with_card
from tests.training.project import tiny, write_params
from training import compare, evaluate, export, paths, preprocess, train
from training.comparison.content import differing_params
from training.comparison.metric_rows import metric_rows
from training.comparison.models import ComparedModel
from training.comparison.sources import find_model

DVC = (sys.executable, "-m", "dvc")
FIRST = "first.onnx"  # copy of the first run's model
DESKTOP, PHONE = (1280, 900), (390, 844)


# The outputs that DVC keeps; the others are in Git, as in dvc.yaml.
PIPELINE = {"stages": {"export": {"cmd": "true", "outs": [str(paths.CANDIDATE_MODEL)]}}}


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the pipeline ran and was committed, and then ran again as the experiment `seed-one`."""
    folder = tmp_path_factory.mktemp("studio")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("git", "init", "-q")
        run("git", "config", "user.name", "Someone")
        run("git", "config", "user.email", "someone@example.org")
        run(*DVC, "init", "-q")
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
        (folder / ".gitignore").write_text(
            "/.runs/\n/data/\n/*.npz\n/*.onnx\n/models/generator.pt\n/reports/compare.html\n"
        )
        write_images("images.npz")
        run("git", "add", "-A")
        run("git", "commit", "-q", "-m", "empty")
        run_pipeline("40 epochs")
        run(*DVC, "commit", "-q", "-f")
        run("git", "add", "-A")
        run("git", "commit", "-q", "-m", "first")
        shutil.copy(paths.CANDIDATE_MODEL, FIRST)
        run_pipeline("48 epochs", seed=1)
        run(*DVC, "exp", "save", "-q", "--name", "seed-one")
    return folder


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def write_images(path: str) -> None:
    """Two classes of noise, dark and bright."""
    labels = np.arange(64) % 2
    noise = np.random.RandomState(0).randint(0, 80, (64, 28, 28, 1)) + 160 * labels[:, None, None, None]
    np.savez(path, images=noise.astype(np.uint8), labels=labels, classes=np.array(["dark", "bright"]))


def run_pipeline(length: str, **changes: Any) -> None:
    """Run the stages in this process, which takes seconds where DVC's processes take half a minute."""
    train_params = {"length": length, "batch": 64} | changes
    data = {"source": "images.npz", "labels": "auto"}
    write_params(Path(), **tiny(data=data, train=train_params, evaluate={"images": 16, "classifier_epochs": 1}))
    for stage in (preprocess, train, export, evaluate):
        stage.main()
    torch.set_flush_denormal(False)


@pytest.fixture
def in_studio(studio: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(studio)
    return studio


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def written_page(a: str, b: str) -> str:
    compare.main([a, b])
    return paths.COMPARISON.read_text()


def grids(page: str) -> list[np.ndarray]:
    """Pixels of the sample grids in a page."""
    files = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(file)))) for file in files]


@pytest.mark.usefixtures("in_studio")
def test_the_sample_grids_show_equal_seeds_of_both_models() -> None:
    first, second = OnnxGenerator.load(FIRST, "cpu"), OnnxGenerator.load(paths.CANDIDATE_MODEL, "cpu")
    seeds, labels = list(range(10)) * 2, np.arange(2).repeat(10)
    shown = grids(written_page("HEAD", str(paths.CANDIDATE_MODEL)))
    for grid, generator in zip(shown, (first, second), strict=True):
        expected = contact_sheet(generator.generate(seeds, labels)[0], 10)[:, :, 0]
        assert np.abs(grid.astype(int) - expected).max() <= 1
    assert np.abs(shown[0].astype(int) - shown[1]).max() > 1


def test_an_experiment_brings_its_metrics_curves_and_parameters(in_studio: Path) -> None:
    first, second = find_model("HEAD"), find_model("seed-one")
    assert first.metrics["model_id"] == find_model(FIRST).model_id
    assert second.metrics == json.loads(paths.CANDIDATE_METRICS.read_bytes())
    assert [kimg for kimg, _ in second.curves["d_loss"]] == [1, 2, 3, 3.072]
    table = (paths.TRAIN_REPORT / "plots/metrics/d_loss.tsv").read_text().splitlines()[1:]
    assert [loss for _, loss in second.curves["d_loss"]] == [float(row.split("\t")[1]) for row in table]
    assert first.curves != second.curves
    assert find_model("candidate").curves == find_model(str(paths.CANDIDATE_MODEL)).curves == second.curves
    assert find_model(FIRST).curves == {}

    page = written_page("HEAD", "seed-one")
    differing = differing_params(first.card.params, second.card.params)
    assert {row.title: row.values for row in differing} == {
        "train.length": ("40 epochs", "48 epochs"),
        "train.seed": ("0", "1"),
    }
    assert re.findall(r'<th scope="row">((?:train|network|data)\.\w+)</th>', page) == ["train.length", "train.seed"]
    for model in (first, second):
        assert f"<td>{model.metrics['kid']:.4f}</td>" in page
        assert model.model_id is not None
        assert model.model_id in page
    assert "not comparable" not in page
    assert "2.6 kimg" in page
    assert "3.1 kimg" in page


def test_make_compare_takes_two_names_as_words_or_as_variables(studio: Path) -> None:
    candidate = str(paths.CANDIDATE_MODEL)
    (studio / paths.COMPARISON).unlink(missing_ok=True)
    done = make(studio, "compare", "seed-one", candidate)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"compared seed-one and {candidate}: {(studio / paths.COMPARISON).as_uri()}\n"
    assert "overriding" not in done.stderr
    assert "missing.onnx" in make(studio, "compare", f"A={candidate}", "B=missing.onnx").stderr
    missing = make(studio, "compare", "A=seed-one")
    assert "error: make compare takes two models: make compare A B; there are models/" in missing.stderr


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["make", "-o", ".venv/.ready", *arguments]  # the test's own environment replaces .venv
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_the_page_requests_nothing_and_fits_any_width(in_studio: Path, browser: Browser, size: tuple[int, int]) -> None:
    written_page("HEAD", "seed-one")
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    requested, problems = record(page)
    page.goto(paths.COMPARISON.absolute().as_uri())
    assert requested == [paths.COMPARISON.absolute().as_uri()]
    assert problems == []
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    widths = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth)")
    assert len(widths) == 6
    assert all(widths)
    boxes = [figure.bounding_box() for figure in page.locator(".pair figure").all()]
    beside = bool(boxes[0] and boxes[1] and boxes[0]["y"] == boxes[1]["y"])
    assert beside == (size == DESKTOP)
    page.close()


def record(page: Page) -> tuple[list[str], list[str]]:
    """URLs that a page requests, and the errors on its console, from now on."""
    requested: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: None if request.url.startswith("data:") else requested.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    return requested, problems


def test_an_unknown_name_suggests_the_nearest_of_all_kinds(in_studio: Path) -> None:
    for name, meant in (
        ("sed-one", "seed-one"),
        ("models/candidate/genrator.onnx", "models/candidate/generator.onnx"),
    ):
        with pytest.raises(MintError, match=re.escape(f"did you mean {meant}?")):
            find_model(name)


def test_without_a_candidate_the_sentence_says_what_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MintError, match="there is no candidate yet; `make train` makes one"):
        find_model("candidate")


def test_a_model_that_cannot_be_compared_is_one_sentence(in_studio: Path, tmp_path: Path) -> None:
    (tmp_path / "words.onnx").write_text("no model")
    with pytest.raises(MintError, match="words.onnx"):
        find_model(str(tmp_path / "words.onnx"))
    with pytest.raises(MintError, match='"HEAD~1" has no models/candidate/generator.onnx'):
        find_model("HEAD~1")


MEASURED = {"images": 100, "extractor": "lite", "kid": 0.5, "kid_of_real": 0.01, "memorised": 0.25}


def model(tmp_path: Path, metrics: dict[str, Any], label: str = "a", **card: Any) -> ComparedModel:
    """A model with these metrics; card: changes of its card."""
    path = save(with_card(tiny_model(), tiny_card(**card)), tmp_path / f"{label}.onnx")
    found = find_model(str(path))
    return ComparedModel(label, found.origin, found.model_id, found.card, metrics, found.curves, found.images)


@pytest.mark.parametrize(
    ("changes", "card", "kid", "memorised"),
    [
        ({"kid": 0.75}, {}, ("0.5000", "0.7500"), ("0.2500", "0.2500")),
        ({"extractor": "other"}, {}, "computed with other extractor: lite and other", ("0.2500", "0.2500")),
        ({"images": 50}, {}, "computed with other images: 100 and 50", "computed with other images: 100 and 50"),
        ({}, {"data_sha256": "1" * 64}, "on different data", "on different data"),
    ],
)
def test_only_metrics_of_equal_data_images_and_extractor_are_compared(
    tmp_path: Path, changes: dict[str, Any], card: dict[str, Any], kid: Any, memorised: Any
) -> None:
    rows = metric_rows(model(tmp_path, MEASURED), model(tmp_path, MEASURED | changes, "b", **card))
    for row, title, expected in zip(rows, ("KID", "memorised"), (kid, memorised), strict=True):
        assert row.title == title
        if isinstance(expected, tuple):
            assert (row.values, row.problem) == (expected, "")
        else:
            assert row.values == ("", "")
            assert row.problem.startswith("not comparable: ")
            assert expected in row.problem
    assert rows[0].real == ("0.0100" if isinstance(kid, tuple) else "")


def test_a_metric_that_one_model_lacks_is_not_comparable(tmp_path: Path) -> None:
    lacking = {"images": 100, "extractor": "lite", "memorised": 0.5, "omitted": {"kid": "needs at least 16 images"}}
    kid, memorised = metric_rows(model(tmp_path, MEASURED), model(tmp_path, lacking, "b"))
    assert kid.problem == "not comparable: b has none: it needs at least 16 images"
    assert memorised.values == ("0.2500", "0.5000")
    rows = metric_rows(model(tmp_path, MEASURED), model(tmp_path, {}, "b"))
    assert {row.problem for row in rows} == {"not comparable: b has not been evaluated"}


def test_models_with_other_classes_share_seeds_without_classes(tmp_path: Path, project: Any) -> None:
    save(tiny_model(), tmp_path / "a.onnx")
    save(tiny_model(classes=(), weights=1, resolution=16), tmp_path / "b.onnx")
    page = written_page("a.onnx", "b.onnx")
    assert "Seeds 0 to 79, row by row. The models differ in their classes, so each seed draws its own." in page
    assert [grid.shape[:2] for grid in grids(page)] == [(8 * 10 - 2, 10 * 10 - 2), (8 * 18 - 2, 10 * 18 - 2)]
    assert "No curves of a.onnx and b.onnx" in page
    assert "Neither model has been evaluated" in page


def test_text_of_a_card_is_escaped(tmp_path: Path, project: Any) -> None:
    save(with_card(tiny_model(), tiny_card(licence="<script>alert(1)</script>")), tmp_path / "a.onnx")
    page = written_page("a.onnx", "a.onnx")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
