"""What a file is, told by its first bytes: the one place that decides what counts as a picture.

A name alone can only claim: photographs are called .jfif, .jpe or nothing at all. A file whose name claims a picture
and whose content is none is a failure that is counted; a file that is no picture in either is left out.
"""

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

from training.data.sources.base import IgnoredFile, Item, Source, UnreadableImageError

# Every format here is decoded in process; Pillow's others start programs or hold nothing that one would train on.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
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
# Formats of pictures that Mint does not read, by content. The order counts: several cameras' files begin as TIFF.
_FOREIGN = {
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
_FOREIGN_PATTERNS = {name: re.compile(pattern, re.DOTALL) for name, pattern in _FOREIGN.items()}
# What is no picture at all, but often lies under a picture's name.
_IMPOSTORS = {
    "a Git LFS pointer and not the picture; run `git lfs pull`": rb"version https://git-lfs",
    "a web page and not a picture; download it again": rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html)[\s>]",
    "a PDF document and not a picture; export its pages as PNG": rb"%PDF-",
    "a film and not a picture; save its frames as PNG": rb"....ftyp(?:isom|mp4.|qt  |avc1)|\x1aE\xdf\xa3|RIFF....AVI ",
}
_IMPOSTOR_PATTERNS = {reason: re.compile(pattern, re.DOTALL | re.IGNORECASE) for reason, pattern in _IMPOSTORS.items()}
_CLAIM = re.compile(
    r"\.(?:a?png|avifs?|bmp|dib|gif|j2[ck]|jp[2cefgx]|jpeg|jfif?|jif|p[bgnp]m|tiff?|webp"  # what Mint reads
    r"|bpg|dds|djvu|exr|flif|heic|heif|hif|jxl|jxr|psb|psd|qoi|svgz?|tga|xcf"  # other formats of pictures
    r"|3fr|arw|cr[23w]|dng|erf|iiq|kdc|mrw|nef|nrw|orf|pef|raf|rw[2l]|sr[2fw]|x3f)",  # cameras' own
    re.IGNORECASE,
)
_KNOWN_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,9}")

UNPACK = "unpack it and set data.source to the folder, or pack it as .zip or .tar.gz"
FOLDER = "set data.source to the folder that holds it"
KINDS = {
    b"\x28\xb5\x2f\xfd": ("packed with Zstandard", UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", UNPACK),
    b"Rar!\x1a\x07": ("a RAR archive", UNPACK),
    b"LZIP": ("packed with lzip", UNPACK),
    b"\x04\x22\x4d\x18": ("packed with LZ4", UNPACK),
    b"\x02\x21\x4c\x18": ("packed with LZ4", UNPACK),
    b"\xff\x06\x00\x00sNaPpY": ("packed with Snappy", UNPACK),
    b"\x89LZO\x00\r\n\x1a\n": ("packed with lzop", UNPACK),
    b"\x1f\x9d": ("packed with compress (.Z)", UNPACK),
    b"\xce\xb2\xcf\x81": ("packed with Brotli", UNPACK),
    b"MSCF": ("a cabinet archive", UNPACK),
    b"xar!": ("a xar archive", UNPACK),
    b"!<arch>": ("an ar archive", UNPACK),
    b"07070": ("a cpio archive", UNPACK),
    b"\x60\xea": ("an ARJ archive", UNPACK),
    b"hsqs": ("a SquashFS image", UNPACK),
    b"PK\x07\x08": ("one part of a split zip archive", "join all parts with `zip -s 0`"),
    b"\x93NUMPY": ("a single .npy array", "save it with numpy.savez(..., images=array)"),
    b"\x00\x00\x08\x01": ("an IDX file", FOLDER),
    b"\x00\x00\x08\x03": ("an IDX file", FOLDER),
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
    b"\xff\xd8\xff": ("a single picture", FOLDER),
    b"\x89PNG": ("a single picture", FOLDER),
    b"GIF8": ("a single picture", FOLDER),
}
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
DEEPER = {b"-lh": (2, "an LHA archive"), b"CD001": (32769, "a disk image (ISO 9660)")}
HEAD = 32769 + 5  # bytes in which all of this lies


def claims_picture(name: str) -> bool:
    """Whether a file's name is a picture's."""
    return _CLAIM.fullmatch(PurePosixPath(name).suffix) is not None


def is_picture(head: bytes) -> bool:
    """Whether a file that begins so is a picture, be it one that Mint reads or not."""
    return _READABLE.match(head) is not None or _container(head) is not None or foreign_format(head) is not None


def foreign_format(head: bytes) -> str | None:
    """The format of a picture that Mint does not read; None for any other file."""
    if _container(head) == "HEIC":
        return "HEIC"
    return next((name for name, pattern in _FOREIGN_PATTERNS.items() if pattern.match(head)), None)


def why_unknown(head: bytes) -> str:
    """Why a file in no format that Mint reads is refused, and what to do about it."""
    if name := foreign_format(head):
        return f"{name}, a format that Mint does not read; convert it to PNG or JPEG"
    for reason, pattern in _IMPOSTOR_PATTERNS.items():
        if pattern.match(head):
            return reason
    if _READABLE.match(head) or _container(head):
        return "damaged, or of a kind that Mint does not read; save it as PNG or JPEG with 8 bits a channel"
    return "not an image, or of an unknown format"


def _container(head: bytes) -> str | None:
    """AVIF or HEIC, by the brands that an ISO media file (ISO/IEC 14496-12) names; None for anything else."""
    if head[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, length, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"} else None


def only_pictures(source: Source) -> Source:
    """The source's pictures; its other files are left out, each with its kind. Opens those without a picture's name."""
    pictures, left_out = [], list(source.left_out)
    for item in source.items:
        if claims_picture(item.name) or _has_picture(item):
            pictures.append(item)
        else:
            left_out.append(IgnoredFile(item.name, _kind(item.name), item.read))
    return replace(source, items=pictures, left_out=left_out)


def _has_picture(item: Item) -> bool:
    """By content; a file that cannot be read may be a picture where its name says nothing at all."""
    try:
        return is_picture(item.head())
    except UnreadableImageError:
        return not PurePosixPath(item.name).suffix


def _kind(name: str) -> str:
    """What is left out, in the plural: `.txt files`."""
    suffix = PurePosixPath(name).suffix.lower()
    if not suffix:
        return "files without a suffix that are no pictures"
    return f"{suffix} files" if _KNOWN_SUFFIX.fullmatch(suffix) else "other files that are no pictures"


def foreign_kind(path: Path) -> str | None:
    """`a RAR archive, which is not read here; ...`, to follow the name of a file and `is`; None where it is unknown."""
    head = _head(path)
    for magic, (kind, remedy) in KINDS.items():
        if head.startswith(magic):
            return f"{kind}, which is not read here; {remedy}"
    for magic, (offset, kind) in DEEPER.items():
        if head[offset:].startswith(magic):
            return f"{kind}, which is not read here; {UNPACK}"
    return None


def no_source(path: Path) -> str:
    """The same for a file that is neither of a foreign kind nor a source."""
    if path.suffix.lower() in (".zip", ".npz"):
        return "damaged; download or pack it again"
    head = _head(path)
    for magic, program in COMPRESSED.items():
        if head.startswith(magic):
            return f"packed with {program} and no tar archive; unpack it ({program} -d) and {FOLDER}"
    return "neither a folder, a zip or tar archive, nor an .npz file"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)
