"""Colour conversion to sRGB by ICC profiles and PNG gamma."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.training.data.colour_profiles import colours_of, display_p3, with_chunk
from tests.training.project import RED, Project, encoded
from training.data.decode import load_image

P3_RED = (234, 51, 35)  # sRGB's red in Display P3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_a_display_p3_picture_is_converted_to_srgb(project: Project, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": "4:4:4"}
    content = encoded(Image.new("RGB", (40, 40), P3_RED), kind, icc_profile=display_p3(), **options)
    assert np.abs(np.array(colours_of(project, content)) - RED).max() <= 6
    white = encoded(Image.new("RGB", (40, 40), (255, 255, 255)), kind, icc_profile=display_p3(), **options)
    assert min(colours_of(project, white)) >= 254


def test_transparency_and_palettes_survive_the_conversion(project: Project) -> None:
    image = Image.new("RGBA", (40, 40), (*P3_RED, 0))
    image.paste((*P3_RED, 255), (0, 0, 20, 40))
    content = encoded(image, icc_profile=display_p3())
    pixels = load_image(content, project.data(background="#ff8000")).pixels
    assert np.abs(pixels[3, 3].astype(int) - RED).max() <= 3
    assert pixels[3, -4].tolist() == [255, 128, 0]
    palette = encoded(Image.new("RGB", (40, 40), P3_RED).quantize(2), icc_profile=display_p3())
    assert np.abs(np.array(colours_of(project, palette)) - RED).max() <= 3


@pytest.mark.parametrize(
    "profile",
    [b"not a profile", display_p3()[:200], bytes(3000), display_p3()[:128] + b"\xff" * 400],
    ids=["text", "cut", "zeros", "garbage"],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_damaged_profile_is_ignored(project: Project, profile: bytes, kind: str) -> None:
    content = encoded(Image.new("RGB", (40, 40), (90, 120, 200)), kind, icc_profile=profile)
    assert np.abs(np.array(colours_of(project, content)) - (90, 120, 200)).max() <= 3


def test_a_profile_of_another_colour_space_is_ignored(project: Project) -> None:
    content = encoded(Image.new("L", (40, 40), 90), icc_profile=display_p3())
    assert colours_of(project, content) == [90, 90, 90]


def test_an_srgb_profile_changes_nothing(project: Project) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.random.RandomState(0).randint(0, 256, (28, 28, 3), np.uint8)
    content = encoded(Image.fromarray(pixels), icc_profile=profile)
    assert np.abs(load_image(content, project.data()).pixels.astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_of_another_gamma_is_converted_to_srgb(project: Project, channels: int) -> None:
    linear = with_chunk(encoded(Image.new("L", (40, 40), 55)), b"gAMA", (100_000).to_bytes(4, "big"))
    assert abs(colours_of(project, linear, channels)[0] - 128) <= 1  # 55/255 of linear light is 128 in sRGB
    usual = with_chunk(encoded(Image.new("L", (40, 40), 55)), b"gAMA", (45_455).to_bytes(4, "big"))
    assert colours_of(project, usual, channels)[0] == 55


def test_a_profile_takes_precedence_over_gamma(project: Project) -> None:
    content = encoded(Image.new("RGB", (40, 40), P3_RED), icc_profile=display_p3())
    both = with_chunk(content, b"gAMA", (100_000).to_bytes(4, "big"))
    assert np.abs(np.array(colours_of(project, both)) - RED).max() <= 3


def test_a_long_profile_is_used(project: Project) -> None:
    profile = display_p3()
    long = (len(profile) + (2 << 20)).to_bytes(4, "big") + profile[4:] + bytes(2 << 20)
    content = encoded(Image.new("RGB", (40, 40), P3_RED), icc_profile=long)
    assert np.abs(np.array(colours_of(project, content)) - RED).max() <= 3
