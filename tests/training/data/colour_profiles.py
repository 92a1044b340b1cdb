"""Builders of ICC profiles and PNG chunks."""

import struct
import zlib

from PIL import ImageCms

from tests.training.project import Project
from training.data.decode import load_image

# Colorants of Display P3 under D50, X, Y, Z of red, green and blue; its curve is sRGB's.
P3_COLORANTS = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}
PNG_HEADER = 33  # bytes of signature and IHDR


def display_p3() -> bytes:
    """A Display P3 profile: littlecms' sRGB profile with other colorants (ICC.1:2010, sections 7.3 and 10.31)."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for entry in range(int.from_bytes(profile[128:132], "big")):
        tag, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * entry)
        if tag in P3_COLORANTS:
            struct.pack_into(">3i", profile, offset + 8, *(round(value * 65536) for value in P3_COLORANTS[tag]))
    return bytes(profile)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """Insert a chunk after the header of a PNG."""
    return png[:PNG_HEADER] + png_chunk(kind, content) + png[PNG_HEADER:]


def colours_of(project: Project, content: bytes, channels: int = 3) -> list[int]:
    """Decode an image of one colour; returns that colour."""
    pixels = load_image(content, project.data(channels=channels)).pixels
    assert (pixels == pixels[0, 0]).all()
    return list(pixels[0, 0].tolist())
