"""Sprites, from drawing them to the page: oblong images with alpha through every stage of the pipeline."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, expect

from benchmarks.sprites import HEIGHT, KINDS, WIDTH, draw_sprite, write_sprites
from tests.live_service import LiveService, live_service
from tests.training.project import tiny, write_params
from tests.ui.conftest import address_of, new_context
from tests.ui.explorer import TO_DATA_URLS, Explorer
from training import evaluate, export, paths, preprocess, train
from training.data.manifest import read_manifest

BACKGROUND = "#405060"
STEPS, BATCH = 3, 8
DATA = {"source": "sprites", "resolution": f"{HEIGHT}x{WIDTH}", "channels": 4, "background": BACKGROUND}
STABILISE = {"augment": "diffaugment"}
TRAIN = {"length": f"{STEPS * BATCH / 1000} kimg", "batch": BATCH, "sheet_epochs": [1], "rotation": 5.0}
EVALUATE = {"images": 16, "classifier_epochs": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has drawn 40 sprites, trained on them for a moment, exported and evaluated."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_sprites(Path("sprites"), 40)
        sections = {"data": DATA, "stabilise": STABILISE, "train": TRAIN, "evaluate": EVALUATE}
        write_params(folder, **tiny(**sections))
        for stage in (preprocess, train, export, evaluate):
            stage.main()
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[LiveService]:
    with live_service(folder / paths.CANDIDATE_MODEL, folder / "home") as service:
        yield service


def test_a_seed_draws_the_same_sprite_and_another_seed_another() -> None:
    for name in KINDS:
        first, second = draw_sprite(name, 7), draw_sprite(name, 8)
        assert first.shape == (HEIGHT, WIDTH, 4)
        assert np.array_equal(first, draw_sprite(name, 7))
        assert not np.array_equal(first, second)
        alphas = set(np.unique(first[..., 3]).tolist())
        assert {0, 255} < alphas  # and a soft shadow


def test_prepared_sprites_are_those_that_were_drawn(folder: Path) -> None:
    manifest = read_manifest(folder / paths.MANIFEST)
    images = np.load(folder / paths.IMAGES)
    labels = np.load(folder / paths.LABELS)
    assert manifest.description == f"40 images {HEIGHT}x{WIDTH}x4, {len(KINDS)} classes"
    assert manifest.classes == tuple(sorted(KINDS))
    first = images[labels == manifest.classes.index("tree")][0]
    index = list(KINDS).index("tree")
    drawn = draw_sprite("tree", index)
    assert np.array_equal(first[..., 3], drawn[..., 3])
    assert np.array_equal(first[drawn[..., 3] > 0], drawn[drawn[..., 3] > 0])
    assert (images[images[..., 3] == 0] == 0).all()


def test_sprites_are_evaluated_and_reported_with_the_pixels_that_are_seen(folder: Path) -> None:
    metrics = json.loads((folder / paths.CANDIDATE_METRICS).read_text())
    assert np.isfinite(
        [metrics[name] for name in ("kid", "diversity", "nearest_training", "classifier_accuracy")]
    ).all()
    assert Image.open(folder / paths.CANDIDATE_GRID).mode == "RGB"
    assert Image.open(folder / paths.SAMPLES / "last.png").mode == "RGBA"


def test_a_sprite_has_a_url_with_alpha(service: LiveService) -> None:
    card = service.client.get("/model").json()["card"]
    assert (card["resolution"], card["channels"], card["background"]) == ("64x32", 4, BACKGROUND)
    image = Image.open(io.BytesIO(service.client.get("/images/7.png").content))
    assert (image.size, image.mode) == ((WIDTH, HEIGHT), "RGBA")
    larger = Image.open(io.BytesIO(service.client.get("/images/7.webp", params={"size": 4 * HEIGHT}).content))
    assert (larger.size, larger.mode) == ((4 * WIDTH, 4 * HEIGHT), "RGBA")
    assert Image.open(io.BytesIO(service.client.get("/images/7.jpeg").content)).mode == "RGB"


def test_the_page_shows_sprites_in_their_shape_over_a_checkerboard(browser: Browser, service: LiveService) -> None:
    context = new_context(browser)
    explorer = Explorer(context.new_page(), address_of(service))
    explorer.open("seeds=0-5&open=7&panel=nearby")
    expect(explorer.page.locator("#subtitle")).to_have_text("sprites, 64 x 32")
    for gallery in ("samples", "neighbours"):
        canvas = explorer.page.locator(f"#{gallery} canvas").first
        box = canvas.bounding_box()
        assert box is not None
        assert box["height"] == pytest.approx(2 * box["width"], abs=1)
        assert "conic-gradient" in canvas.evaluate("canvas => getComputedStyle(canvas).backgroundImage")
    preview = explorer.page.locator("#preview").bounding_box()
    assert preview is not None
    assert preview["height"] == pytest.approx(2 * preview["width"], abs=1)

    shown = alphas(explorer, "samples")
    response = service.client.post("/generate", json={"seeds": list(range(6)), "format": "npy"})
    expected = np.load(io.BytesIO(response.content))[..., 3]
    assert np.abs(shown.astype(int) - expected).max() <= 1
    assert explorer.problems == []
    context.close()


def alphas(explorer: Explorer, gallery: str) -> NDArray[np.uint8]:
    """Alpha of a gallery's pictures, uint8 [N, H, W]."""
    urls = explorer.page.locator(f"#{gallery} canvas").evaluate_all(TO_DATA_URLS)
    files = [base64.b64decode(url.removeprefix("data:image/png;base64,")) for url in urls]
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGBA"))[..., 3] for file in files])
