"""What a file is that can be no source, told by its first bytes, and what to do with it."""

from pathlib import Path

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
