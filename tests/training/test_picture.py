"""One file -> one square: what a person sees in the file is what the network is shown."""

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.training.project import BLUE, GREEN, RED, Project, encoded, picture
from training.params import DataParams
from training.picture import square
from training.sources import UnreadableError


def shown(content: bytes | NDArray[np.uint8], data: DataParams) -> NDArray[np.uint8]:
    """The pixels [R, R, C] that a picture becomes."""
    return square(content, data).pixels


@pytest.fixture
def quarters() -> Image.Image:
    """40x40: red, green / blue, white."""
    image = Image.new("RGB", (40, 40), (255, 255, 255))
    image.paste(RED, (0, 0, 20, 20))
    image.paste(GREEN, (20, 0, 40, 20))
    image.paste(BLUE, (0, 20, 20, 40))
    return image


def corners(pixels: NDArray[np.uint8]) -> list[tuple[int, ...]]:
    """Colours near the corners: top left, top right, bottom left, bottom right."""
    return [tuple(pixels[y, x].tolist()) for y in (3, -4) for x in (3, -4)]


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),  # a phone stores the turn that undoes the sensor's
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_a_photo_taken_sideways_is_upright(
    project: Project, quarters: Image.Image, orientation: int, turned: Image.Transpose
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = encoded(quarters.transpose(turned), exif=exif)
    np.testing.assert_array_equal(shown(photo, project.data()), shown(encoded(quarters), project.data()))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_picture_with_damaged_exif_is_used_as_it_is(project: Project, quarters: Image.Image) -> None:
    photo = encoded(quarters, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", quality=100)
    assert corners(shown(photo, project.data()))[3] == (255, 255, 255)


@pytest.mark.parametrize("size", [(120, 40), (40, 120)])
def test_the_centre_is_kept(project: Project, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, ((size[0] - 40) // 2, (size[1] - 40) // 2, (size[0] + 40) // 2, (size[1] + 40) // 2))
    assert (shown(encoded(image), project.data()) == BLUE).all()


def test_a_fine_checkerboard_shrinks_to_grey_instead_of_moire(project: Project) -> None:
    board = ((np.indices((280, 280)).sum(0) % 2) * 255).astype(np.uint8)
    inside = shown(encoded(Image.fromarray(board)), project.data(channels=1))[2:-2, 2:-2]
    assert np.abs(inside.astype(int) - 127).max() <= 2


def test_a_large_jpeg_decoded_small_looks_the_same(project: Project) -> None:
    wave = np.sin(np.linspace(0, 20, 1600))
    image = Image.fromarray(np.uint8(127 + 60 * wave[:, None] + 60 * wave[None, :]))
    jpeg, png = encoded(image, "JPEG", quality=95), encoded(image)
    data = project.data(channels=1)
    assert np.abs(shown(jpeg, data).astype(int) - shown(png, data)).max() <= 4


def test_an_image_of_the_right_size_is_not_touched(project: Project) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (28, 28, 3), np.uint8)
    np.testing.assert_array_equal(shown(encoded(Image.fromarray(pixels)), project.data()), pixels)


def test_a_small_image_is_enlarged(project: Project) -> None:
    assert (shown(picture(RED, (16, 12)), project.data(resolution=64)) == RED).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_show_the_background(project: Project, mode: str) -> None:
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 20, 40))
    data = project.data(background="#ff8000")
    left_top, right_top, *_ = corners(shown(encoded(image.convert(mode)), data))
    assert left_top == (0, 0, 0)
    assert right_top == (255, 128, 0)


def test_half_transparent_pixels_are_mixed_with_the_background(project: Project) -> None:
    image = Image.new("RGBA", (40, 40), (255, 0, 0, 128))
    mixed = shown(encoded(image), project.data(background="#0000ff"))
    assert np.abs(mixed.astype(int) - (128, 0, 127)).max() <= 1


def test_the_colour_behind_transparency_does_not_bleed_into_edges(project: Project) -> None:
    image = Image.new("RGBA", (280, 280), (0, 255, 0, 0))  # invisible green
    image.paste((255, 255, 255, 255), (0, 0, 135, 280))
    assert (shown(encoded(image), project.data(background="#ffffff")) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_keeps_its_range(project: Project, kind: str) -> None:
    ramp = np.linspace(0, 65535, 28).astype(np.uint16)
    image = Image.fromarray(np.broadcast_to(ramp, (28, 28)).copy())
    row = shown(encoded(image, kind), project.data(channels=1))[0, :, 0]
    np.testing.assert_array_equal(row, np.rint(ramp / 257).astype(np.uint8))


def test_a_palette_image_has_its_colours(project: Project, quarters: Image.Image) -> None:
    palette = encoded(quarters.quantize(4), "GIF")
    assert corners(shown(palette, project.data())) == [RED, GREEN, BLUE, (255, 255, 255)]


def test_cmyk_is_converted(project: Project) -> None:
    sheet = Image.new("CMYK", (40, 40), (255, 0, 0, 0))
    cyan = shown(encoded(sheet, "JPEG", quality=100), project.data())
    assert np.abs(cyan.astype(int) - (0, 255, 255)).max() <= 3


def test_black_and_white_scans_are_black_and_white(project: Project) -> None:
    scan = Image.new("1", (40, 40), 1)
    assert (shown(encoded(scan, "TIFF", compression="group4"), project.data(channels=1)) == 255).all()


def test_colour_becomes_grey_and_grey_becomes_colour(project: Project) -> None:
    assert shown(picture(GREEN), project.data(channels=1)).shape == (28, 28, 1)
    assert shown(encoded(Image.new("L", (40, 40), 7)), project.data(channels=3))[0, 0].tolist() == [7, 7, 7]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(project: Project, kind: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    animation = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (shown(animation, project.data()) == RED).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM"])
def test_every_usual_format_is_read(project: Project, kind: str) -> None:
    assert np.abs(shown(picture(RED, kind=kind), project.data()).astype(int) - RED).max() <= 3


def test_pixels_are_prepared_as_files_are(project: Project, quarters: Image.Image) -> None:
    np.testing.assert_array_equal(shown(np.asarray(quarters), project.data()), shown(encoded(quarters), project.data()))


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header announces that many pixels."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"just some text", "not an image, or of an unknown format"),
        (b"%PDF-1.7 " + bytes(100), "a PDF document and not a picture; export its pages as PNG"),
        (picture(kind="JPEG", size=(400, 400))[:-200], "damaged or truncated"),
        (encoded(Image.effect_noise((99, 99), 50))[:5000], "damaged or truncated"),
        (png_that_claims(100_000, 100_000), "too large: 10000 megapixels, the limit is 250"),
        (
            encoded(Image.new("F", (40, 40), 0.5), "TIFF"),
            "32 bits a channel, or negative values; save it with 8 or 16 bits",
        ),
    ],
)
def test_a_file_that_is_no_usable_image_is_refused_with_the_reason(
    project: Project, content: bytes, reason: str
) -> None:
    with pytest.raises(UnreadableError) as refusal:
        shown(content, project.data())
    assert str(refusal.value).startswith(reason)
