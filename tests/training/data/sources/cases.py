"""Small data sources that are easily misread, as users have them; generated on each run."""

import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.training.data.colour_profiles import display_p3, with_chunk
from tests.training.project import encoded

SIDE = 28  # of every image: the resolution of the tests, so that pixels are unchanged
PETS = ("cat", "dog")
P3_RED = (234, 51, 35)  # sRGB's red in Display P3


def noise(seed: int) -> NDArray[np.uint8]:
    """Random pixels [28, 28, 3], different for every seed."""
    return np.random.RandomState(seed).randint(0, 256, (SIDE, SIDE, 3), np.uint8)


def png(seed: int) -> bytes:
    """PNG file of noise(seed)."""
    return encoded(Image.fromarray(noise(seed)))


def jpeg(seed: int) -> bytes:
    """JPEG file of nearly noise(seed)."""
    return encoded(Image.fromarray(noise(seed)), "JPEG", quality=100, subsampling=0)


def each(folders: Iterable[str], count: int, name: Callable[[int], str] = "{}.png".format) -> dict[str, bytes]:
    """`count` images in each folder, with seeds in the order of their names."""
    names = [f"{folder}/{name(number)}" for folder in folders for number in range(count)]
    return {name: png(seed) for seed, name in enumerate(sorted(names))}


def tar(files: dict[str, bytes]) -> bytes:
    """A tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def header_offsets(archive: bytes) -> list[int]:
    """Offsets of the headers of a tar's members."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return [member.offset for member in opened]


def zipped(files: dict[str, bytes], **renamed: str) -> bytes:
    """A zip with names that zipfile would not write: placeholders of the same length are replaced in its bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    content = buffer.getvalue()
    for placeholder, name in renamed.items():
        content = content.replace(placeholder.encode(), name.encode())
    return content


def joined_tars() -> bytes:
    """The output of `cat cats.tar dogs.tar`."""
    return tar(each(["cat"], 6)) + tar({name: png(6 + i) for i, name in enumerate(each(["dog"], 6))})


def tar_with_a_damaged_header() -> bytes:
    """A tar with a flipped byte in the fourth member's name."""
    archive = bytearray(tar(each(PETS, 6)))
    archive[header_offsets(bytes(archive))[3] + 20] ^= 0xFF
    return bytes(archive)


def tar_cut_within_a_header() -> bytes:
    """A tar cut inside the header of the seventh member."""
    archive = tar(each(PETS, 6))
    return archive[: header_offsets(archive)[6] + 100]


def zip_from_macos() -> bytes:
    """A zip with UTF-8 names but without the UTF-8 flag."""
    return zipped(each(["NNNNN", "tea"], 4), NNNNN="Café")


def zip_from_windows() -> bytes:
    """A zip with backslashes in names, and entries for folders."""
    files = {"cat@": b"", "dog@": b""} | {name.replace("/", "@"): content for name, content in each(PETS, 6).items()}
    return zipped(files, **{"cat@": "cat\\", "dog@": "dog\\"})


def npz_with_names_as_bytes() -> bytes:
    """An .npz with class names as fixed-width bytes."""
    buffer = io.BytesIO()
    images = np.stack([noise(seed) for seed in range(12)])
    np.savez(buffer, images=images, labels=np.arange(12) % 3, classes=np.array([b"ant", b"bee", b"cow"]))
    return buffer.getvalue()


def splits() -> dict[str, bytes]:
    """Class folders inside train, val and test folders."""
    return each([f"{split}/{pet}" for split in ("train", "val", "test") for pet in PETS], 4)


def shards() -> dict[str, bytes]:
    """The output of StyleGAN's dataset tool."""
    names = [f"{number // 6:05d}/img{number:08d}.png" for number in range(12)]
    table = {"labels": [[name, number % 3] for number, name in enumerate(names)]}
    return {name: png(seed) for seed, name in enumerate(names)} | {"dataset.json": json.dumps(table).encode()}


def nested() -> dict[str, bytes]:
    """Class folders in a wrapper folder with a preview beside it."""
    return each(["flowers/rose", "flowers/tulip"], 6) | {"preview.jpg": jpeg(99)}


def jpegs_called(suffix: str) -> dict[str, bytes]:
    """JPEGs, half of them with another suffix."""
    cats = {f"cat/{number}.jpg": jpeg(number) for number in range(6)}
    return cats | {f"dog/{number:04d}{suffix}": jpeg(6 + number) for number in range(6)}


def from_a_nas() -> dict[str, bytes]:
    """Images beside the system files of network storage and Windows."""
    pictures = each(PETS, 8)
    thumbnails = {f"{Path(name).parent}/@eaDir/{Path(name).name}/SYNOPHOTO_THUMB_M.jpg": jpeg(1) for name in pictures}
    system = {"cat/Desktop.ini": b"[.ShellClassInfo]", "dog/thumbs.db": b"\xd0\xcf\x11\xe0"}
    return pictures | thumbnails | system | {"cat/0.png:Zone.Identifier": b"[ZoneTransfer]\nZoneId=3"}


def captions() -> dict[str, bytes]:
    """Images with a caption file each."""
    pictures = {f"{number:02d}.png": png(number) for number in range(12)}
    return pictures | {name.replace(".png", ".txt"): b"a flower" for name in pictures}


def numbered_classes() -> dict[str, bytes]:
    """Class folders 1 to 12."""
    return each(map(str, range(1, 13)), 3)


GREY_RAMP = (np.arange(60 * 40, dtype=np.uint32) * 65535 // 2399).reshape(40, 60)  # 0 to 65535, row by row


def sixteen_bits() -> dict[str, bytes]:
    """16-bit grey images that are not square, in two formats."""
    pgm = b"P5 60 40 65535\n" + GREY_RAMP.astype(">u2").tobytes()
    ramp = encoded(Image.fromarray(GREY_RAMP.astype(np.uint16)))
    return {f"{number}.pgm": pgm for number in range(6)} | {f"{number}.png": ramp for number in range(6)}


def long_notes() -> dict[str, bytes]:
    """PNGs, one with an invalid profile and one with a text of 2 MiB."""
    note = zlib.compress(b"x" * (2 << 20))
    noted = {
        "a.png": with_chunk(png(8), b"iCCP", b"p\0\0" + note),
        "b.png": with_chunk(png(9), b"zTXt", b"k\0\0" + note),
    }
    return {f"{number}.png": png(number) for number in range(8)} | noted


def in_display_p3() -> dict[str, bytes]:
    """Red images in Display P3, as recent phones write them."""
    red = encoded(Image.new("RGB", (SIDE, SIDE), P3_RED), icc_profile=display_p3())
    return {f"{number}.png": red for number in range(6)}


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "joined.tar": joined_tars,
    "bad-header.tar": tar_with_a_damaged_header,
    "cut-header.tar": tar_cut_within_a_header,
    "macos-names.zip": zip_from_macos,
    "backslash.zip": zip_from_windows,
    "npz-bytes.npz": npz_with_names_as_bytes,
}
FOLDERS: dict[str, Callable[[], dict[str, bytes]]] = {
    "splits": splits,
    "shards": shards,
    "nested": nested,
    "jfif": lambda: jpegs_called(".jfif"),
    "no-suffix": lambda: jpegs_called(""),
    "16-bit-wide": sixteen_bits,
    "long-profile": long_notes,
    "display-p3": in_display_p3,
    "nas": from_a_nas,
    "captions": captions,
    "seven": lambda: {f"{number}.png": png(number) for number in range(7)},
    "sixteen-classes-of-one": lambda: each([f"c{number:02d}" for number in range(16)], 1),
    "numbered": numbered_classes,
}
