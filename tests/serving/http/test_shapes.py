"""Oblong images and images with alpha, through every route and format of the service."""

import io
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from serving.encoding.images import resize
from serving.encoding.transparency import composite
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import Images
from tests.pixels import assert_same_pixels
from tests.serving.conftest import Call, assert_error, serve_model
from tests.tiny_model import save, tiny_card, tiny_model, with_card

BACKGROUND = "#204060"
HEIGHT, WIDTH = 12, 8


@pytest.fixture(scope="module")
def sprites(tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    """A model of images with alpha, 12 pixels high and 8 wide."""
    model = tiny_model(channels=4, classes=(), resolution=f"{HEIGHT}x{WIDTH}")
    card = tiny_card(channels=4, classes=(), resolution=f"{HEIGHT}x{WIDTH}", background=BACKGROUND)
    path = save(with_card(model, card), tmp_path_factory.mktemp("sprites") / "sprites.onnx")
    return OnnxGenerator.load(path, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def call(sprites: OnnxGenerator) -> Iterator[Call]:
    yield from serve_model(sprites.path)


def pixels_of(file: bytes) -> Images:
    return np.asarray(Image.open(io.BytesIO(file)))


def test_the_model_has_the_size_and_background_of_its_card(call: Call, sprites: OnnxGenerator) -> None:
    card = call("GET", "/model").json()["card"]
    assert (card["resolution"], card["channels"], card["background"]) == ("12x8", 4, BACKGROUND)
    assert sprites.card.shape == "12x8x4, no classes"


@pytest.mark.parametrize("extension", ["png", "webp"])
def test_png_and_webp_keep_alpha(call: Call, sprites: OnnxGenerator, extension: str) -> None:
    image = pixels_of(call("GET", f"/images/7.{extension}").content)
    [expected], _ = sprites.generate([7])
    visible = expected[..., 3] > 1
    assert image.shape == (HEIGHT, WIDTH, 4)
    assert_same_pixels(image[..., 3], expected[..., 3])
    assert_same_pixels(image[visible], expected[visible])


def test_jpeg_shows_the_background(call: Call, sprites: OnnxGenerator) -> None:
    image = pixels_of(call("GET", "/images/7.jpeg").content)
    shown = composite(sprites.generate([7])[0][0], BACKGROUND)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(image.astype(int) - shown).mean() < 10  # noise is the worst that jpeg can meet


@pytest.mark.parametrize(("size", "shape"), [(36, (36, 24)), (100, (100, 67)), (6, (6, 4))])
def test_size_is_the_longer_side(call: Call, sprites: OnnxGenerator, size: int, shape: tuple[int, int]) -> None:
    image = pixels_of(call("GET", f"/images/7.png?size={size}").content)
    assert image.shape == (*shape, 4)
    assert_same_pixels(image, resize(sprites.generate([7])[0], size)[0])


def test_npy_zip_and_json_hold_the_same_images(call: Call, sprites: OnnxGenerator) -> None:
    seeds = [3, 4, 5]
    expected, _ = sprites.generate(seeds)

    def response(format: str) -> bytes:
        return call("POST", "/generate", json={"seeds": seeds, "format": format}).content

    images = np.load(io.BytesIO(response("npy")))
    assert images.shape == (3, HEIGHT, WIDTH, 4)
    assert_same_pixels(images, expected)
    with zipfile.ZipFile(io.BytesIO(response("zip"))) as archive:
        assert_same_pixels([pixels_of(archive.read(name)) for name in archive.namelist()], expected)
    sheet = pixels_of(response("png"))
    assert sheet.shape == (2 * HEIGHT + 2, 2 * WIDTH + 2, 4)
    assert (sheet[HEIGHT : HEIGHT + 2] == 0).all()
    jpeg_sheet = pixels_of(response("jpeg"))
    assert np.abs(jpeg_sheet[-1, -1].astype(int) - (0x20, 0x40, 0x60)).max() < 20


@pytest.mark.parametrize("format", ["gif", "webp", "npy", "png"])
def test_an_animation_has_the_shape_of_the_images(call: Call, format: str) -> None:
    body = {"seeds": [1, 2], "steps": 2, "size": 24, "format": format}
    content = call("POST", "/interpolate", json=body).content
    if format == "npy":
        assert np.load(io.BytesIO(content)).shape == (3, 24, 16, 4)
    else:
        image = Image.open(io.BytesIO(content))
        assert image.size == ((3 * 16 + 4, 24) if format == "png" else (16, 24))
        assert image.has_transparency_data == (format != "gif")


def test_the_pixels_of_an_animation_are_counted_with_its_aspect_ratio(call: Call) -> None:
    body = {"seeds": [1, 2], "steps": 10, "size": 1536}
    assert_error(call("POST", "/interpolate", json=body), 400, "11 frames of 1536x1024 are more than 16777216 pixels")


def test_the_api_reference_describes_both_notations_of_a_resolution(call: Call) -> None:
    schema = call("GET", "/openapi.json").json()["components"]["schemas"]["ModelCard"]["properties"]["resolution"]
    assert [option["type"] for option in schema["anyOf"]] == ["integer", "string"]
