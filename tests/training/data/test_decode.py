"""Image decoding: orientation, cropping, colour modes, bit depths, damaged files."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.training.data.colour_profiles import colours_of, with_chunk
from tests.training.project import BLUE, GREEN, RED, Project, encoded, picture
from training.data.decode import load_image
from training.data.sources import UnreadableImageError
from training.param_sections import DataParams


def decoded(content: bytes | NDArray[np.uint8], data: DataParams) -> NDArray[np.uint8]:
    """Decoded pixels [H, W, C]."""
    return load_image(content, data).pixels


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
        (6, Image.Transpose.ROTATE_90),  # EXIF stores the inverse rotation
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
    np.testing.assert_array_equal(decoded(photo, project.data()), decoded(encoded(quarters), project.data()))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_is_ignored(project: Project, quarters: Image.Image) -> None:
    photo = encoded(quarters, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", quality=100)
    assert corners(decoded(photo, project.data()))[3] == (255, 255, 255)


@pytest.mark.parametrize("size", [(120, 40), (40, 120)])
def test_the_centre_is_kept(project: Project, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, ((size[0] - 40) // 2, (size[1] - 40) // 2, (size[0] + 40) // 2, (size[1] + 40) // 2))
    assert (decoded(encoded(image), project.data()) == BLUE).all()


def test_a_fine_checkerboard_shrinks_to_grey_instead_of_moire(project: Project) -> None:
    board = ((np.indices((280, 280)).sum(0) % 2) * 255).astype(np.uint8)
    inside = decoded(encoded(Image.fromarray(board)), project.data(channels=1))[2:-2, 2:-2]
    assert np.abs(inside.astype(int) - 127).max() <= 2


def test_a_large_jpeg_decoded_small_looks_the_same(project: Project) -> None:
    wave = np.sin(np.linspace(0, 20, 1600))
    image = Image.fromarray(np.uint8(127 + 60 * wave[:, None] + 60 * wave[None, :]))
    jpeg, png = encoded(image, "JPEG", quality=95), encoded(image)
    data = project.data(channels=1)
    assert np.abs(decoded(jpeg, data).astype(int) - decoded(png, data)).max() <= 4


def test_an_image_at_the_target_resolution_is_unchanged(project: Project) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (28, 28, 3), np.uint8)
    np.testing.assert_array_equal(decoded(encoded(Image.fromarray(pixels)), project.data()), pixels)


def test_a_small_image_is_enlarged(project: Project) -> None:
    assert (decoded(picture(RED, (16, 12)), project.data(resolution=64)) == RED).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_show_the_background(project: Project, mode: str) -> None:
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 20, 40))
    data = project.data(background="#ff8000")
    left_top, right_top, *_ = corners(decoded(encoded(image.convert(mode)), data))
    assert left_top == (0, 0, 0)
    assert right_top == (255, 128, 0)


def test_half_transparent_pixels_are_mixed_with_the_background(project: Project) -> None:
    image = Image.new("RGBA", (40, 40), (255, 0, 0, 128))
    mixed = decoded(encoded(image), project.data(background="#0000ff"))
    assert np.abs(mixed.astype(int) - (128, 0, 127)).max() <= 1


def test_the_colour_behind_transparency_does_not_bleed_into_edges(project: Project) -> None:
    image = Image.new("RGBA", (280, 280), (0, 255, 0, 0))  # invisible green
    image.paste((255, 255, 255, 255), (0, 0, 135, 280))
    assert (decoded(encoded(image), project.data(background="#ffffff")) == 255).all()


def ramp(width: int, height: int, largest: int) -> NDArray[np.uint16]:
    """A gradient from 0 to `largest` in each row."""
    return np.broadcast_to(np.linspace(0, largest, width).astype(np.uint16), (height, width)).copy()


def pgm(samples: NDArray[np.uint16], largest: int, plain: bool = False) -> bytes:
    """A PGM file of more than 8 bits."""
    size = f"{samples.shape[1]} {samples.shape[0]} {largest}\n"
    if plain:
        return f"P2\n{size}{' '.join(map(str, samples.ravel().tolist()))}\n".encode()
    return f"P5\n{size}".encode() + samples.astype(">u2").tobytes()


def grey_tiff(packed: bytes, width: int, height: int, bits: int, photometric: int = 1) -> bytes:
    """An uncompressed grey TIFF in one strip."""
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: height, 279: len(packed)}
    directory = 8 + len(packed)
    tags[273] = 8
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", directory) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)


def twelve_bits(samples: NDArray[np.uint16]) -> bytes:
    """Pairs of 12-bit samples in three bytes each, the high bits first."""
    one, two = samples.ravel()[::2], samples.ravel()[1::2]
    return np.stack([one >> 4, (one & 15) << 4 | two >> 8, two & 255], 1).astype(np.uint8).tobytes()


WIDE, TALL, EVEN = (60, 28), (28, 60), (28, 28)
DEEP_GREY: dict[str, Callable[[int, int], bytes]] = {
    "PNG": lambda w, h: encoded(Image.fromarray(ramp(w, h, 65535))),
    "TIFF": lambda w, h: encoded(Image.fromarray(ramp(w, h, 65535)), "TIFF"),
    "TIFF, big end first": lambda w, h: encoded(Image.fromarray(ramp(w, h, 65535).astype(">u2")), "TIFF"),
    "JPEG2000": lambda w, h: encoded(Image.fromarray(ramp(w, h, 65535)), "JPEG2000"),
    "PGM": lambda w, h: pgm(ramp(w, h, 65535), 65535),
    "10-bit PGM": lambda w, h: pgm(ramp(w, h, 1023), 1023),
    "12-bit PGM": lambda w, h: pgm(ramp(w, h, 4095), 4095),
    "plain 10-bit PGM": lambda w, h: pgm(ramp(w, h, 1023), 1023, plain=True),
    "12-bit TIFF": lambda w, h: grey_tiff(twelve_bits(ramp(w, h, 4095)), w, h, 12),
    "TIFF, white is 0": lambda w, h: grey_tiff((65535 - ramp(w, h, 65535)).tobytes(), w, h, 16, photometric=0),
}


@pytest.mark.parametrize("size", [WIDE, TALL, EVEN], ids=["wide", "tall", "square"])
@pytest.mark.parametrize("kind", DEEP_GREY)
def test_grey_of_more_than_8_bits_keeps_its_range_in_every_shape(
    project: Project, kind: str, size: tuple[int, int]
) -> None:
    width, height = size
    row = decoded(DEEP_GREY[kind](width, height), project.data(channels=1))[0, :, 0]
    middle = (width - 28) // 2
    expected = np.linspace(0, 255, width)[middle : middle + 28]
    assert np.abs(row - expected).max() <= 1


def test_a_palette_image_has_its_colours(project: Project, quarters: Image.Image) -> None:
    palette = encoded(quarters.quantize(4), "GIF")
    assert corners(decoded(palette, project.data())) == [RED, GREEN, BLUE, (255, 255, 255)]


def test_cmyk_is_converted(project: Project) -> None:
    sheet = Image.new("CMYK", (40, 40), (255, 0, 0, 0))
    cyan = decoded(encoded(sheet, "JPEG", quality=100), project.data())
    assert np.abs(cyan.astype(int) - (0, 255, 255)).max() <= 3


def test_black_and_white_scans_are_black_and_white(project: Project) -> None:
    scan = Image.new("1", (40, 40), 1)
    assert (decoded(encoded(scan, "TIFF", compression="group4"), project.data(channels=1)) == 255).all()


def test_colour_becomes_grey_and_grey_becomes_colour(project: Project) -> None:
    assert decoded(picture(GREEN), project.data(channels=1)).shape == (28, 28, 1)
    assert decoded(encoded(Image.new("L", (40, 40), 7)), project.data(channels=3))[0, 0].tolist() == [7, 7, 7]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(project: Project, kind: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    animation = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (decoded(animation, project.data()) == RED).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM"])
def test_every_usual_format_is_read(project: Project, kind: str) -> None:
    assert np.abs(decoded(picture(RED, kind=kind), project.data()).astype(int) - RED).max() <= 3


def test_pixel_arrays_and_files_give_the_same_result(project: Project, quarters: Image.Image) -> None:
    np.testing.assert_array_equal(
        decoded(np.asarray(quarters), project.data()), decoded(encoded(quarters), project.data())
    )


MEBIBYTES = zlib.compress(bytes(2 << 20))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"iCCP", b"p\0\0" + MEBIBYTES),
        (b"iCCP", b"p\0\0" + zlib.compress(bytes(40 << 20))),
        (b"iCCP", b"p\0\7" + MEBIBYTES),
        (b"zTXt", b"k\0\0" + MEBIBYTES),
        (b"zTXt", b"k\0\0" + zlib.compress(bytes(40 << 20))),
        (b"iTXt", b"k\0\1\0\0\0" + MEBIBYTES),
        (b"tEXt", b"k\0" + b"x" * (2 << 20)),
    ],
    ids=["profile", "huge profile", "unknown compression", "text", "huge text", "international text", "plain text"],
)
def test_a_png_with_long_or_damaged_metadata_is_read(project: Project, kind: bytes, content: bytes) -> None:
    assert colours_of(project, with_chunk(picture(BLUE), kind, content)) == list(BLUE)


def test_a_png_with_a_damaged_checksum_beside_its_pixels_is_read(project: Project) -> None:
    content = bytearray(with_chunk(picture(BLUE), b"tIME", bytes(7)))
    content[33 + 8 + 7] ^= 0xFF
    assert colours_of(project, bytes(content)) == list(BLUE)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end_marker_is_read(project: Project, missing: int, progressive: bool) -> None:
    noise = Image.effect_noise((60, 60), 50)
    whole = encoded(noise, "JPEG", progressive=progressive)
    data = project.data(channels=1)
    np.testing.assert_array_equal(decoded(whole[:-missing], data), decoded(whole, data))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("side", [60, 900])  # the larger one is downscaled while decoding
def test_a_truncated_jpeg_is_refused(project: Project, side: int, kept: float, progressive: bool) -> None:
    whole = encoded(Image.effect_noise((side, side), 50), "JPEG", progressive=progressive)
    with pytest.raises(UnreadableImageError, match="damaged or truncated"):
        decoded(whole[: int(len(whole) * kept)], project.data())


@pytest.mark.parametrize(("kind", "size"), [("JPEG", (12_000, 9_000)), ("PNG", (7_000, 6_000))])
def test_a_large_picture_is_read(project: Project, kind: str, size: tuple[int, int]) -> None:
    photo = encoded(Image.new("L", size, 77), kind, compress_level=1)
    assert colours_of(project, photo, channels=1) == [77]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((1, 1), "too small: 1x1 pixels, the limit is 4 a side"),
        ((500, 3), "too small: 500x3 pixels, the limit is 4 a side"),
        ((1000, 12), "a strip of 1000x12 pixels, whose centre crop is less than 10% of it; cut it into pictures"),
        ((12, 1000), "a strip of 12x1000 pixels, whose centre crop is less than 10% of it; cut it into pictures"),
    ],
)
def test_tiny_and_elongated_images_are_refused_with_their_size(
    project: Project, size: tuple[int, int], message: str
) -> None:
    for content in (picture(RED, size), np.zeros((size[1], size[0], 3), np.uint8)):
        with pytest.raises(UnreadableImageError) as error:
            load_image(content, project.data())
        assert str(error.value) == message


def test_an_upscaled_image_is_flagged(project: Project) -> None:
    assert load_image(picture(RED, (40, 27)), project.data()).enlarged
    assert not load_image(picture(RED, (40, 28)), project.data()).enlarged


def png_that_declares(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header declares this size."""
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
        (png_that_declares(100_000, 100_000), "too large: 10000 megapixels, the limit is 250"),
        (
            encoded(Image.new("F", (40, 40), 0.5), "TIFF"),
            "32 bits a channel, or negative values; save it with 8 or 16 bits",
        ),
    ],
)
def test_an_unusable_file_is_refused_with_the_reason(project: Project, content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError) as error:
        decoded(content, project.data())
    assert str(error.value).startswith(reason)


@pytest.mark.parametrize("size", [(300, 100), (100, 300), (96, 64), (64, 96)], ids=str)
def test_the_largest_centre_of_the_aspect_ratio_is_kept(project: Project, size: tuple[int, int]) -> None:
    width, height = size
    kept_width, kept_height = min(width, round(height * 64 / 96)), min(height, round(width * 96 / 64))
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (left, top, left + kept_width, top + kept_height))
    pixels = decoded(encoded(image), project.data(resolution="96x64"))
    assert pixels.shape == (96, 64, 3)
    assert (pixels == BLUE).all()


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_oblong_photo_taken_sideways_keeps_its_sharpness(project: Project, orientation: int) -> None:
    wave = np.sin(np.linspace(0, 60, 1600))[:, None].repeat(1200, axis=1)
    photo = Image.fromarray(np.uint8(127 + 100 * wave))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = photo if orientation == 1 else photo.transpose(Image.Transpose.ROTATE_90)
    data = project.data(resolution="256x32", channels=1)
    jpeg = decoded(encoded(turned, "JPEG", quality=95, exif=exif), data)
    assert np.abs(jpeg.astype(int) - decoded(encoded(photo), data)).max() <= 6


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((3, 40), "too small: 3x40 pixels, the limit is 4x8"),
        ((40, 7), "too small: 40x7 pixels, the limit is 4x8"),
        ((420, 80), "a strip of 420x80 pixels, whose centre crop is less than 10% of it; cut it into pictures"),
    ],
)
def test_what_is_too_small_or_too_long_depends_on_the_aspect_ratio(
    project: Project, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(UnreadableImageError) as error:
        load_image(picture(RED, size), project.data(resolution="64x32"))
    assert str(error.value) == message


def soft_disc(side: int, hidden: tuple[int, int, int]) -> Image.Image:
    """A white disc with a soft edge; its invisible surroundings have the colour `hidden`."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    alpha = np.clip((0.35 * side - np.hypot(x, y)) / (0.1 * side) + 0.5, 0, 1)
    pixels = np.full((side, side, 4), (255, 255, 255, 0), np.uint8)
    pixels[alpha == 0, :3] = hidden
    pixels[..., 3] = np.rint(255 * alpha)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("side", [28, 280])
def test_alpha_is_kept_and_colours_do_not_depend_on_what_is_invisible(project: Project, side: int) -> None:
    data = project.data(channels=4)
    green, black = (decoded(encoded(soft_disc(side, hidden)), data) for hidden in ((0, 255, 0), (0, 0, 0)))
    np.testing.assert_array_equal(green, black)
    assert green.shape == (28, 28, 4)
    alpha = green[..., 3]
    assert (alpha[14, 14], alpha[0, 0]) == (255, 0)
    assert ((alpha > 8) & (alpha < 247)).any()
    assert green[alpha > 8, :3].min() > 240  # no dark or green rim
    assert (green[alpha == 0] == 0).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1", "LA"])
def test_an_image_without_transparency_is_opaque(project: Project, mode: str) -> None:
    pixels = decoded(encoded(Image.new("RGB", (40, 40), "white").convert(mode), "TIFF"), project.data(channels=4))
    assert (pixels[..., 3] == 255).all()
    assert np.unique(pixels.reshape(-1, 4), axis=0).shape == (1, 4)


def test_transparent_colours_of_a_palette_and_a_grey_image_are_transparent(project: Project) -> None:
    data = project.data(channels=4)
    half = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    half.paste((200, 200, 200, 255), (0, 0, 20, 40))
    palette = half.convert("RGB").quantize(2)
    palette.info["transparency"] = palette.getpixel((39, 0))
    for content in (encoded(palette, "GIF"), encoded(palette), encoded(half.convert("LA"))):
        left, right, *_ = corners(decoded(content, data))
        assert (left, right) == ((200, 200, 200, 255), (0, 0, 0, 0))
