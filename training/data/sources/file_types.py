"""File type detection by magic number: image formats, and files that cannot be a source.

Content decides, because photographs are also named .jfif, .jpe or without a suffix. A file with an image suffix whose
content is no image counts as a failure; a file with neither is ignored.
"""

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

from training.data.sources.base import IgnoredFile, Item, Source, UnreadableImageError

# Decoded in process; Pillow's other formats start external programs or are no training data.
PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
_READABLE = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|\x89PNG\r\n\x1a\n"
    rb"|RIFF....WEBP"
    rb"|GIF8[79]a"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"  # BMP, with the size of its second header
    rb"|II\*\0|MM\0\*|II\+\0|MM\0\+"  # TIFF, BigTIFF
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"  # JPEG 2000
    rb"|P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s",  # PBM, PGM, PPM
    re.DOTALL,
)
# Image formats that are not read. Order matters: several camera RAW formats start like TIFF.
_UNSUPPORTED_FORMATS = {
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "camera RAW": rb"II\*\0....CR|II\x1a\0\0\0HEAPCCDR|FUJIFILMCCD-RAW|II(?:RO|RS)|MMOR|IIU\0|\0MRM|FOVb|....ftypcrx ",
    "Photoshop": rb"8BPS",
    "GIMP": rb"gimp xcf",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Radiance HDR": rb"#\?(?:RADIANCE|RGBE)",
    "JPEG XR": rb"II\xbc[\x00\x01]",
    "SVG": rb"(?:\xef\xbb\xbf)?\s*(?:<(?:\?|!)[^>]*>\s*)*<svg[\s>]",
    "ICO": rb"\0\0[\1\2]\0[^\0]\0",
    "DDS": rb"DDS \x7c\0\0\0",
    "QOI": rb"qoif",
    "BPG": rb"BPG\xfb",
    "FLIF": rb"FLIF[\x31-\x7f]",
    "DjVu": rb"AT&TFORM",
    "PAM": rb"P7\s*\n",
    "PFM": rb"P[Ff]\s",
    "DICOM": rb".{128}DICM",
    "FITS": rb"SIMPLE  =",
    "MNG": rb"\x8aMNG\r\n",
    "JNG": rb"\x8bJNG\r\n",
    "Sun raster": rb"\x59\xa6\x6a\x95",
}
_UNSUPPORTED_PATTERNS = {name: re.compile(pattern, re.DOTALL) for name, pattern in _UNSUPPORTED_FORMATS.items()}
# Files that often have an image suffix without being images, by the reason to report.
_NOT_IMAGES = {
    "a Git LFS pointer and not the picture; run `git lfs pull`": rb"version https://git-lfs",
    "a web page and not a picture; download it again": rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html)[\s>]",
    "a PDF document and not a picture; export its pages as PNG": rb"%PDF-",
    "a film and not a picture; save its frames as PNG": rb"....ftyp(?:isom|mp4.|qt  |avc1)|\x1aE\xdf\xa3|RIFF....AVI ",
}
_NOT_IMAGE_PATTERNS = {
    reason: re.compile(pattern, re.DOTALL | re.IGNORECASE) for reason, pattern in _NOT_IMAGES.items()
}
_IMAGE_SUFFIX = re.compile(
    r"\.(?:a?png|avifs?|bmp|dib|gif|j2[ck]|jp[2cefgx]|jpeg|jfif?|jif|p[bgnp]m|tiff?|webp"  # formats that are read
    r"|bpg|dds|djvu|exr|flif|heic|heif|hif|jxl|jxr|psb|psd|qoi|svgz?|tga|xcf"  # other image formats
    r"|3fr|arw|cr[23w]|dng|erf|iiq|kdc|mrw|nef|nrw|orf|pef|raf|rw[2l]|sr[2fw]|x3f)",  # camera RAW
    re.IGNORECASE,
)
_KNOWN_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,9}")

UNPACK_HINT = "unpack it and set data.source to the folder, or pack it as .zip or .tar.gz"
FOLDER_HINT = "set data.source to the folder that holds it"
UNSUPPORTED_SOURCES = {
    b"\x28\xb5\x2f\xfd": ("packed with Zstandard", UNPACK_HINT),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", UNPACK_HINT),
    b"Rar!\x1a\x07": ("a RAR archive", UNPACK_HINT),
    b"LZIP": ("packed with lzip", UNPACK_HINT),
    b"\x04\x22\x4d\x18": ("packed with LZ4", UNPACK_HINT),
    b"\x02\x21\x4c\x18": ("packed with LZ4", UNPACK_HINT),
    b"\xff\x06\x00\x00sNaPpY": ("packed with Snappy", UNPACK_HINT),
    b"\x89LZO\x00\r\n\x1a\n": ("packed with lzop", UNPACK_HINT),
    b"\x1f\x9d": ("packed with compress (.Z)", UNPACK_HINT),
    b"\xce\xb2\xcf\x81": ("packed with Brotli", UNPACK_HINT),
    b"MSCF": ("a cabinet archive", UNPACK_HINT),
    b"xar!": ("a xar archive", UNPACK_HINT),
    b"!<arch>": ("an ar archive", UNPACK_HINT),
    b"07070": ("a cpio archive", UNPACK_HINT),
    b"\x60\xea": ("an ARJ archive", UNPACK_HINT),
    b"hsqs": ("a SquashFS image", UNPACK_HINT),
    b"PK\x07\x08": ("one part of a split zip archive", "join all parts with `zip -s 0`"),
    b"\x93NUMPY": ("a single .npy array", "save it with numpy.savez(..., images=array)"),
    b"\x00\x00\x08\x01": ("an IDX file", FOLDER_HINT),
    b"\x00\x00\x08\x03": ("an IDX file", FOLDER_HINT),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file", "save its pictures as a folder of PNG files or as an .npz with `images`"),
    b"PAR1": ("a Parquet table", "save its pictures as a folder of PNG files"),
    b"ARROW1": ("an Arrow table", "save its pictures as a folder of PNG files"),
    b"SQLite format 3": ("an SQLite database", "save its pictures as a folder of PNG files"),
    b"\x80\x02": ("a Python pickle", "save its pictures as a folder of PNG files or as an .npz with `images`"),
    b"\x80\x03": ("a Python pickle", "save its pictures as a folder of PNG files or as an .npz with `images`"),
    b"\x80\x04": ("a Python pickle", "save its pictures as a folder of PNG files or as an .npz with `images`"),
    b"\x80\x05": ("a Python pickle", "save its pictures as a folder of PNG files or as an .npz with `images`"),
    b"MATLAB": ("a MATLAB file", "save its pictures as a folder of PNG files or as an .npz with `images`"),
    b"%PDF": ("a PDF document", "save its pictures as a folder of PNG files"),
    b"\xff\xd8\xff": ("a single picture", FOLDER_HINT),
    b"\x89PNG": ("a single picture", FOLDER_HINT),
    b"GIF8": ("a single picture", FOLDER_HINT),
}
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
UNSUPPORTED_AT_OFFSET = {b"-lh": (2, "an LHA archive"), b"CD001": (32769, "a disk image (ISO 9660)")}
SOURCE_HEAD_BYTES = 32769 + 5  # bytes that cover all of these


def has_image_suffix(name: str) -> bool:
    """Return whether a file is named like an image."""
    return _IMAGE_SUFFIX.fullmatch(PurePosixPath(name).suffix) is not None


def is_image(head: bytes) -> bool:
    """Return whether a file with these first bytes is an image, of a format that is read or not."""
    return _READABLE.match(head) is not None or _container(head) is not None or unsupported_format(head) is not None


def unsupported_format(head: bytes) -> str | None:
    """Name the image format that is not read; None for any other file."""
    if _container(head) == "HEIC":
        return "HEIC"
    return next((name for name, pattern in _UNSUPPORTED_PATTERNS.items() if pattern.match(head)), None)


def explain_unreadable(head: bytes) -> str:
    """Explain why a file that Pillow cannot identify is skipped, and what to do about it."""
    if name := unsupported_format(head):
        return f"{name}, a format that Mint does not read; convert it to PNG or JPEG"
    for reason, pattern in _NOT_IMAGE_PATTERNS.items():
        if pattern.match(head):
            return reason
    if _READABLE.match(head) or _container(head):
        return "damaged, or of a kind that Mint does not read; save it as PNG or JPEG with 8 bits a channel"
    return "not an image, or of an unknown format"


def _container(head: bytes) -> str | None:
    """Return AVIF or HEIC by the brands of an ISO media file (ISO/IEC 14496-12); None for anything else."""
    if head[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, length, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"} else None


def keep_images(source: Source) -> Source:
    """Keep the images of a source and list its other files as ignored. Opens files without an image suffix."""
    images, ignored = [], list(source.ignored)
    for item in source.items:
        if has_image_suffix(item.name) or _has_image_content(item):
            images.append(item)
        else:
            ignored.append(IgnoredFile(item.name, _ignored_kind(item.name), item.read))
    return replace(source, items=images, ignored=ignored)


def _has_image_content(item: Item) -> bool:
    """Detect by content; an unreadable file without a suffix is kept, so that it is reported."""
    try:
        return is_image(item.head())
    except UnreadableImageError:
        return not PurePosixPath(item.name).suffix


def _ignored_kind(name: str) -> str:
    """Kind of an ignored file, in the plural: `.txt files`."""
    suffix = PurePosixPath(name).suffix.lower()
    if not suffix:
        return "files without a suffix that are no pictures"
    return f"{suffix} files" if _KNOWN_SUFFIX.fullmatch(suffix) else "other files that are no pictures"


def unsupported_source_type(path: Path) -> str | None:
    """Describe a file of an unsupported type, to follow `FILE is`: `a RAR archive, which ...`; None if unknown."""
    head = _read_start(path)
    for magic, (kind, remedy) in UNSUPPORTED_SOURCES.items():
        if head.startswith(magic):
            return f"{kind}, which is not read here; {remedy}"
    for magic, (offset, kind) in UNSUPPORTED_AT_OFFSET.items():
        if head[offset:].startswith(magic):
            return f"{kind}, which is not read here; {UNPACK_HINT}"
    return None


def explain_not_a_source(path: Path) -> str:
    """Describe any other file that is not a source, in the form of `unsupported_source_type`."""
    if path.suffix.lower() in (".zip", ".npz"):
        return "damaged; download or pack it again"
    head = _read_start(path)
    for magic, program in COMPRESSED.items():
        if head.startswith(magic):
            return f"packed with {program} and no tar archive; unpack it ({program} -d) and {FOLDER_HINT}"
    return "neither a folder, a zip or tar archive, nor an .npz file"


def _read_start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SOURCE_HEAD_BYTES)
