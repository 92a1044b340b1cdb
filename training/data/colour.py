"""Colours as sRGB, which screens and networks expect: from a picture's ICC profile, or from a PNG's gamma."""

import io
from functools import lru_cache

from PIL import Image, ImageCms

SRGB_GAMMA = 0.45455  # what PNG files write whose values are sRGB's
GAMMA_TOLERANCE = 0.02  # nearer than this nobody sees a difference
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # Pillow's mode for the colours that a profile describes
KEPT_TRANSFORMS = 64  # distinct profiles of one data set; a transform takes some kilobytes


def to_srgb(image: Image.Image) -> Image.Image:
    """The image in sRGB, its transparency as it was; as it is where it says nothing of its colours, or nonsense.

    A profile outranks gamma (PNG specification, section 11.3.2.3). What is converted loses both notes, so that nobody
    converts it twice.
    """
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    if profile:
        return _by_profile(image, profile)
    if gamma and "srgb" not in image.info and abs(gamma - SRGB_GAMMA) > GAMMA_TOLERANCE:
        return _by_gamma(image, gamma)
    return image


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image:
    transform = _transform(profile)
    if transform is None:
        return image
    colours = _plain(image)
    alpha = colours.getchannel("A") if colours.mode in ("RGBA", "LA") else None
    if alpha is not None:
        colours = colours.convert(colours.mode[:-1])
    if colours.mode != transform.input_mode:  # a profile of grey in a colour picture: it was not made for it
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


@lru_cache(KEPT_TRANSFORMS)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """From the profile's colours to sRGB, relative to white; None for a profile that is damaged or of other colours."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = MODES[source.profile.xcolor_space.strip()]
        return ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
    except (OSError, ValueError, KeyError, TypeError, ImageCms.PyCMSError):
        return None


def _by_gamma(image: Image.Image, gamma: float) -> Image.Image:
    """Values as v ** (1 / gamma) of linear light, written as sRGB (IEC 61966-2-1)."""
    curve = [round(255 * _encoded((value / 255) ** (1 / gamma))) for value in range(256)]
    colours = _plain(image)
    if colours.mode not in ("L", "LA", "RGB", "RGBA"):
        return image
    bands = 1 if colours.mode in ("L", "LA") else 3
    unchanged = list(range(256)) * (len(colours.mode) - bands)
    converted = colours.point(curve * bands + unchanged)
    converted.info.pop("gamma", None)
    return converted


def _encoded(light: float) -> float:
    """sRGB's value 0..1 for linear light 0..1."""
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


def _plain(image: Image.Image) -> Image.Image:
    """Values in place of a palette, and transparency in a channel of its own."""
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.has_transparency_data and image.mode in ("L", "RGB"):
        return image.convert("LA" if image.mode == "L" else "RGBA")
    return image
