"""Encoding: files hold the exact pixels, in equal bytes every time."""

import io
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from serving.encoding.images import (
    GAP,
    GAP_COLOUR,
    SECONDS_PER_MEGAPIXEL,
    ImageFormat,
    contact_sheet,
    encode,
    encoding_seconds,
    resize,
)
from serving.encoding.multi_image import AnimatedImageFormat, file_names, strip, to_animation, to_npy, to_zip
from serving.encoding.transparency import composite
from serving.errors import InputError
from serving.http.schemas import ANIMATION_MEDIA_TYPES, MEDIA_TYPES
from serving.inference.image_shape import Resolution
from serving.inference.latents import Images


def noise(*shape: int) -> Images:
    """Random pixels uint8 of a shape [..., H, W, C]."""
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def decoded(file: bytes) -> Images:
    """The pixels [H, W, C] of an image file."""
    pixels = np.asarray(Image.open(io.BytesIO(file)))
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("format", ["png", "webp"])
def test_png_and_webp_are_lossless(format: ImageFormat, channels: int) -> None:
    image = noise(28, 20, channels).clip(1)  # what is fully transparent may have any colour in a WebP
    assert np.array_equal(decoded(encode(image, format)), image)


def test_jpeg_stays_close_to_a_smooth_image() -> None:
    ramp = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    assert np.abs(decoded(encode(ramp, "jpeg")).astype(int) - ramp).max() <= 6


@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_a_grey_image_stays_grey(format: ImageFormat) -> None:
    file = Image.open(io.BytesIO(encode(noise(8, 8, 1), format)))
    assert (file.mode, file.format) == ("L", format.upper())


def test_a_grey_webp_repeats_its_channel() -> None:
    image = noise(8, 8, 1)
    assert np.array_equal(decoded(encode(image, "webp")), np.repeat(image, 3, axis=2))


@pytest.mark.parametrize(
    "write", [lambda x: encode(x[0], "png"), to_npy, lambda x: to_zip(x, ["a.png", "b.png"], [{}, {}])]
)
def test_equal_pixels_give_equal_bytes(write: Callable[[Images], bytes]) -> None:
    assert write(noise(2, 8, 8, 3)) == write(noise(2, 8, 8, 3))


def test_numpy_reads_npy_back() -> None:
    images = noise(3, 4, 5, 1)
    assert np.array_equal(np.load(io.BytesIO(to_npy(images)), allow_pickle=False), images)


def test_a_zip_holds_each_image_under_its_name() -> None:
    images = noise(2, 8, 8, 3)
    with zipfile.ZipFile(io.BytesIO(to_zip(images, ["seed-7.png", "seed-9.png"], [{}, {}]))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["seed-7.png", "seed-9.png"]
        assert np.array_equal(decoded(archive.read("seed-9.png")), images[1])


@pytest.mark.parametrize(("count", "grid"), [(1, (1, 1)), (2, (1, 2)), (5, (2, 3)), (16, (4, 4)), (17, (4, 5))])
def test_a_contact_sheet_is_near_square(count: int, grid: tuple[int, int]) -> None:
    rows, columns = grid
    sheet = contact_sheet(noise(count, 8, 6, 3))
    assert sheet.shape == (rows * (8 + GAP) - GAP, columns * (6 + GAP) - GAP, 3)


def test_a_contact_sheet_shows_the_images_row_by_row_with_a_gap() -> None:
    images = noise(3, 8, 8, 1)
    sheet = contact_sheet(images, columns=2)
    assert np.array_equal(sheet[:8, :8], images[0])
    assert np.array_equal(sheet[:8, 8 + GAP :], images[1])
    assert np.array_equal(sheet[8 + GAP :, :8], images[2])
    assert (sheet[8 : 8 + GAP] == GAP_COLOUR).all()
    assert (sheet[8 + GAP :, 8 + GAP :] == GAP_COLOUR).all()


@pytest.mark.parametrize("size", [64, 12, 5, 100, 1])
@pytest.mark.parametrize(("height", "width"), [(16, 8), (8, 16), (12, 8)])
def test_size_is_the_longer_side_of_an_oblong_image(height: int, width: int, size: int) -> None:
    resized = resize(noise(2, height, width, 3), size)
    _, new_height, new_width, _ = resized.shape
    assert max(new_height, new_width) == size
    assert abs(new_height * width - new_width * height) <= max(height, width) // 2 or min(new_height, new_width) == 1


def test_resizing_does_not_mix_the_colour_of_invisible_pixels_into_edges() -> None:
    images = np.full((1, 8, 8, 4), (0, 255, 0, 0), np.uint8)
    images[:, :, :4] = (255, 0, 0, 255)
    resized = resize(images, 13)
    assert (resized[resized[..., 3] > 0][:, :3] == (255, 0, 0)).all()


def test_transparent_pixels_show_the_background_in_formats_without_alpha() -> None:
    images = np.zeros((3, 8, 8, 4), np.uint8)
    images[:, :, :4] = (255, 0, 0, 255)
    assert np.abs(decoded(encode(images[0], "jpeg", background="#0000ff"))[4, 7].astype(int) - (0, 0, 255)).max() < 9
    frame = Image.open(io.BytesIO(to_animation(images, "gif", fps=10, background="#0000ff"))).convert("RGBA")
    assert [frame.getpixel((x, 4)) for x in (0, 7)] == [(255, 0, 0, 255), (0, 0, 255, 255)]


def test_an_animated_webp_keeps_alpha() -> None:
    images = noise(3, 8, 8, 4).clip(1)
    file = Image.open(io.BytesIO(to_animation(images, "webp", fps=10)))
    for index, image in enumerate(images):
        file.seek(index)
        assert np.array_equal(np.asarray(file.convert("RGBA")), image)


def test_compositing_weighs_colour_and_background_by_alpha() -> None:
    image = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], np.uint8)
    assert composite(image, "#0a1400").tolist() == [[[200, 100, 0], [10, 20, 0], [48, 36, 0]]]
    opaque = noise(2, 8, 8, 3)
    assert composite(opaque, "#0a1400") is opaque


def test_a_contact_sheet_of_transparent_images_has_transparent_gaps() -> None:
    sheet = contact_sheet(noise(3, 8, 8, 4), columns=2)
    assert (sheet[8 : 8 + GAP] == 0).all()
    assert (sheet[8 + GAP :, 8 + GAP :] == 0).all()


def test_file_names_are_unique() -> None:
    assert file_names([7, 8, 7, 7], 4, "png") == ["seed-7.png", "seed-8.png", "seed-7-2.png", "seed-7-3.png"]
    assert file_names(None, 2, "webp") == ["latent-0.webp", "latent-1.webp"]


def test_a_png_carries_its_text_chunks_and_its_pixels() -> None:
    image = noise(8, 8, 1)
    file = Image.open(io.BytesIO(encode(image, "png", {"seed": "7", "label": "Kleid, gr\u00fcn \u2713"})))
    assert file.text == {"seed": "7", "label": "Kleid, gr\u00fcn \u2713"}  # type: ignore[attr-defined]
    assert np.array_equal(np.asarray(file)[:, :, np.newaxis], image)


def test_resizing_to_a_multiple_repeats_every_pixel() -> None:
    images = noise(2, 8, 8, 3)
    larger = resize(images, 24)
    assert larger.shape == (2, 24, 24, 3)
    for row in range(3):
        for column in range(3):
            assert np.array_equal(larger[:, row::3, column::3], images)
    assert np.array_equal(resize(images, 8), images)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [5, 13])
def test_resizing_to_any_other_size_is_smooth(channels: int, size: int) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 8)[None, None, :, None], (2, 8, 8, channels)).astype(np.uint8)
    resized = resize(ramp, size)
    assert resized.shape == (2, size, size, channels)
    assert (np.diff(resized[0, size // 2, 1:-1, 0].astype(int)) > 0).all()  # between the overshoot at both ends


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_an_animation_shows_each_frame_for_its_time_and_loops(format: AnimatedImageFormat) -> None:
    grey = np.repeat(np.arange(0, 250, 50, dtype=np.uint8), 64).reshape(5, 8, 8, 1)
    file = Image.open(io.BytesIO(to_animation(grey, format, fps=10)))
    assert (file.n_frames, file.info["loop"]) == (5, 0)  # type: ignore[attr-defined]
    for index in range(5):
        file.seek(index)
        file.load()
        assert np.asarray(file.convert("L"))[4, 4] == grey[index, 4, 4, 0]
        assert file.info["duration"] == 100


def test_a_strip_is_one_row() -> None:
    images = noise(3, 8, 8, 3)
    row = strip(images)
    assert row.shape == (8, 3 * 8 + 2 * GAP, 3)
    assert np.array_equal(row[:, 8 + GAP : 16 + GAP], images[1])


@pytest.mark.parametrize(("format", "side"), [("webp", 16_383), ("jpeg", 65_500)])
def test_an_image_larger_than_its_format_allows_is_refused(format: ImageFormat, side: int) -> None:
    assert encode(np.zeros((1, side, 1), np.uint8), format)
    with pytest.raises(
        InputError, match=rf"{format} has at most {side} pixels a side and this is {side + 1}; ask for png"
    ):
        encode(np.zeros((1, side + 1, 1), np.uint8), format)


@pytest.mark.parametrize("format", sorted({*MEDIA_TYPES, *ANIMATION_MEDIA_TYPES}))
def test_the_encoding_estimate_of_every_format_grows_with_the_pixels(format: str) -> None:
    assert format in SECONDS_PER_MEGAPIXEL
    small, large = Resolution(64, 64), Resolution(2048, 2048)
    assert encoding_seconds(1, large, 3, format) > 100 * encoding_seconds(1, small, 3, format) / 50 > 0
    assert encoding_seconds(100, small, 1, format) > encoding_seconds(1, small, 1, format)
    assert encoding_seconds(1, large, 4, format) > encoding_seconds(1, Resolution(2048, 1024), 4, format)
