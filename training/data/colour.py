"""Colour conversion to sRGB, by the ICC profile of an image or the gamma of a PNG."""

import io
from functools import lru_cache

from PIL import Image, ImageCms

SRGB_GAMMA = 0.45455  # gAMA of PNG files with sRGB values
GAMMA_TOLERANCE = 0.02  # not visible
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # Pillow's mode by the colour space of a profile
CACHED_TRANSFORMS = 64  # one per distinct profile, some kilobytes each


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert an image to sRGB, keeping its alpha; images without a valid profile or gamma are returned unchanged.

    A profile takes precedence over gamma (PNG specification, section 11.3.2.3). The result has neither, so that it is
    not converted twice.
    """
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    if profile:
        return _apply_icc_profile(image, profile)
    if gamma and "srgb" not in image.info and abs(gamma - SRGB_GAMMA) > GAMMA_TOLERANCE:
        return _apply_gamma(image, gamma)
    return image


def _apply_icc_profile(image: Image.Image, profile: bytes) -> Image.Image:
    transform = _transform(profile)
    if transform is None:
        return image
    colours = _expand_palette(image)
    alpha = colours.getchannel("A") if colours.mode in ("RGBA", "LA") else None
    if alpha is not None:
        colours = colours.convert(colours.mode[:-1])
    if colours.mode != transform.input_mode:  # such as a grey profile in a colour image: not valid for it
        return image
    try:
        converted = ImageCms.applyTransform(colours, transform)
    except (OSError, ValueError, ImageCms.PyCMSError):
        return image
    if converted is None:
        return image
    if alpha is not None:
        converted.putalpha(alpha)
    converted.info.pop("icc_profile", None)
    return converted


@lru_cache(CACHED_TRANSFORMS)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Build the relative colorimetric transform to sRGB; None for a damaged profile or an unsupported colour space."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = MODES[source.profile.xcolor_space.strip()]
        return ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
    except (OSError, ValueError, KeyError, TypeError, ImageCms.PyCMSError):
        return None


def _apply_gamma(image: Image.Image, gamma: float) -> Image.Image:
    """Convert values to linear light, v ** (1 / gamma), and encode it as sRGB (IEC 61966-2-1)."""
    curve = [round(255 * _srgb_encode((value / 255) ** (1 / gamma))) for value in range(256)]
    colours = _expand_palette(image)
    if colours.mode not in ("L", "LA", "RGB", "RGBA"):
        return image
    bands = 1 if colours.mode in ("L", "LA") else 3
    unchanged = list(range(256)) * (len(colours.mode) - bands)
    converted = colours.point(curve * bands + unchanged)
    converted.info.pop("gamma", None)
    return converted


def _srgb_encode(light: float) -> float:
    """sRGB transfer function: linear light 0..1 to a value 0..1."""
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


def _expand_palette(image: Image.Image) -> Image.Image:
    """Replace a palette by its colours, and transparency by an alpha channel."""
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.has_transparency_data and image.mode in ("L", "RGB"):
        return image.convert("LA" if image.mode == "L" else "RGBA")
    return image
