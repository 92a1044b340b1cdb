"""File type detection by content: images, unsupported formats, misnamed files and ignored files."""

import numpy as np
import pytest
from PIL import Image

from tests.training.project import RED, Project, encoded, picture
from training.data.manifest import DataError
from training.data.sources.file_types import PILLOW_FORMATS

JPEG = picture(kind="JPEG")
PETS = {f"{name}/{number}.png": picture() for name in ("cat", "dog") for number in range(3)}


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPG", ".jif", "", ".bin", ".2021", ".txt"])
def test_images_are_read_whatever_their_suffix(project: Project, suffix: str) -> None:
    project.write({f"cat/{i}.jpg": JPEG for i in range(2)} | {f"dog/{i:04d}{suffix}": JPEG for i in range(2)})
    manifest = project.prepare(max_skipped=0)
    assert manifest.images_per_class == {"cat": 2, "dog": 2}
    assert manifest.left_out == ()


@pytest.mark.parametrize("kind", PILLOW_FORMATS)
def test_every_format_is_detected_by_content(project: Project, kind: str) -> None:
    project.write({"cat/1": picture(kind=kind), "dog/1": picture(kind=kind)})
    assert project.prepare(max_skipped=0).images_per_class == {"cat": 1, "dog": 1}


def ftyp(*brands: bytes) -> bytes:
    """Start of an ISO media file with these brands."""
    content = brands[0] + bytes(4) + b"".join(brands)
    return (8 + len(content)).to_bytes(4, "big") + b"ftyp" + content + bytes(100)


def dng() -> bytes:
    """A TIFF with a thumbnail as its first image, like camera RAW files."""
    tags = {254: 1, 50706: b"\1\4\0\0"}
    return encoded(Image.new("RGB", (40, 40), RED), "TIFF", tiffinfo=tags)


UNSUPPORTED = {
    "HEIC": ftyp(b"heic", b"mif1"),
    "JPEG XL": b"\xff\x0a" + bytes(40),
    "SVG": b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "Photoshop": b"8BPS\0\1" + bytes(40),
    "camera RAW": b"II*\0\x10\0\0\0CR\2\0" + bytes(40),
    "GIMP": b"gimp xcf v011\0" + bytes(40),
    "OpenEXR": b"\x76\x2f\x31\x01\2\0\0\0" + bytes(40),
    "QOI": b"qoif" + bytes(40),
    "DICOM": bytes(128) + b"DICM" + bytes(40),
}


@pytest.mark.parametrize("suffix", ["", ".jpg"])
@pytest.mark.parametrize(("name", "content"), UNSUPPORTED.items(), ids=UNSUPPORTED)
def test_an_unsupported_format_is_named_with_a_remedy(project: Project, name: str, content: bytes, suffix: str) -> None:
    project.write(PETS | {f"cat/x{suffix}": content})
    manifest = project.prepare(max_skipped=0.5)
    assert [(skip.file, skip.reason) for skip in manifest.skipped] == [
        (f"cat/x{suffix}", f"{name}, a format that Mint does not read; convert it to PNG or JPEG")
    ]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (dng(), "camera RAW, a format that Mint does not read; convert it to PNG or JPEG"),
        (ftyp(b"crx ", b"isom"), "camera RAW, a format that Mint does not read; convert it to PNG or JPEG"),
        (ftyp(b"mif1", b"heic"), "HEIC, a format that Mint does not read; convert it to PNG or JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer and not the picture; run `git lfs pull`"),
        (b"<!DOCTYPE html><html>", "a web page and not a picture; download it again"),
        (ftyp(b"isom", b"mp42"), "a film and not a picture; save its frames as PNG"),
        (b"II*\0\x08\0\0\0\0\0", "damaged, or of a kind that Mint does not read; save it as PNG or JPEG"),
    ],
)
def test_the_real_type_of_a_misnamed_file_is_reported(project: Project, content: bytes, reason: str) -> None:
    project.write({"1.png": picture(), "2.jpg": content})
    assert project.prepare(max_skipped=0.5).skipped[0].reason.startswith(reason)


def test_a_folder_of_one_unsupported_format_gives_a_one_line_error(project: Project) -> None:
    project.write({f"{i}.heic": UNSUPPORTED["HEIC"] for i in range(3)})
    with pytest.raises(DataError, match=r"no readable image among its 3 files \(0\.heic: HEIC, a format that Mint"):
        project.prepare()


IGNORED = {
    "system files": [
        "cat/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/0.png", "$RECYCLE.BIN/0.png", ".Trashes/0.png",
        ".DS_Store", "cat/._0.png", "cat/Desktop.ini", "dog/thumbs.db", "dog/ehthumbs.db", "__MACOSX/cat/0.png",
        "cat/0.png:Zone.Identifier", "System Volume Information/0.png",
    ],
    ".txt files": ["cat/0.txt", "cat/1.txt"],
    ".json files": ["cat/0.json"],
    ".xml files": ["dog/0.xml"],
    ".csv files": ["labels.csv"],
    ".mp4 files": ["cat/clip.mp4"],
    "files without a suffix that are no pictures": ["LICENSE"],
    "other files that are no pictures": ["notes.0815"],
}  # fmt: skip


@pytest.mark.parametrize("kind", IGNORED)
def test_files_that_are_not_images_are_ignored_and_not_counted_as_failures(project: Project, kind: str) -> None:
    content = picture() if kind == "system files" else b"BMW beside a flower"
    project.write(PETS | dict.fromkeys(IGNORED[kind], content))
    manifest = project.prepare(max_skipped=0)
    assert manifest.images_per_class == {"cat": 3, "dog": 3}
    assert (manifest.counts.files, manifest.counts.skipped) == (6, 0)
    assert [(entry.kind, entry.files) for entry in manifest.left_out] == [(kind, len(IGNORED[kind]))]


def test_captions_are_ignored_and_not_counted_as_failures(project: Project) -> None:
    project.write({f"{i}.png": picture() for i in range(4)} | {f"{i}.txt": b"a flower" for i in range(4)})
    manifest = project.prepare(max_skipped=0)
    assert (manifest.images, manifest.classes) == (4, ())
    assert manifest.left_out[0].examples == ("0.txt", "1.txt", "2.txt")


def test_a_file_with_an_image_suffix_that_is_no_image_counts_as_a_failure(project: Project) -> None:
    project.write(PETS | {"ape/0.jpeg": b"words"})
    manifest = project.prepare(max_skipped=0.2)
    assert manifest.empty_classes == ("ape",)
    assert manifest.counts.skipped == 1


def test_an_image_without_a_suffix_is_decoded(project: Project) -> None:
    project.write({"0001": picture(RED)})
    project.prepare()
    assert (project.images() == np.uint8(RED)).all()
