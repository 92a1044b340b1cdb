"""Streaming decompression with bounded memory, and a quota against decompression bombs.

The readers of the standard library decompress before they cut to the declared size, and treat what follows a damaged
stream as padding. Here memory holds one chunk at a time, and data after the end of a stream is an error.
"""

import lzma
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from training.data.manifest import DataError

CHUNK_BYTES = 1 << 18  # decompressed at a time
MAX_RATIO = 200  # unpacked to packed size; images and arrays of them reach a few tens
MIN_QUOTA_MIB = 512  # always allowed, however small the source
RESERVED_DISK_MIB = 256  # left free on the disk
MAX_DICTIONARY_MIB = 256  # of LZMA: a header of a few bytes may request 4 GiB


class DamagedArchiveError(Exception):
    """Damaged or inconsistent packed data; its text is the reason."""


class UnpackQuota:
    """Bytes that one source may still unpack, in total and to the disk; shared by all of its files."""

    def __init__(self, path: Path, packed_size: int, scratch: Path) -> None:
        """path: the source, for error messages. packed_size: in bytes. scratch: the folder for unpacked files."""
        self._path, self._scratch = path, scratch
        self._total = max(MIN_QUOTA_MIB << 20, MAX_RATIO * packed_size)
        self._disk = shutil.disk_usage(scratch).free - (RESERVED_DISK_MIB << 20)

    def spend_total(self, size: int) -> None:
        """Count `size` bytes as unpacked. Raises DataError when the source unpacks to more than images would."""
        self._total -= size
        if self._total < 0:
            raise DataError(
                f"{self._path} unpacks to more than {MIN_QUOTA_MIB} MiB and {MAX_RATIO} times its size, which pictures "
                "do not; if you trust it, unpack it and set data.source to the folder"
            )

    def spend_disk(self, size: int) -> None:
        """Count `size` bytes before they are written. Raises DataError when the disk has no room for them."""
        self._disk -= size
        if self._disk < 0:
            raise DataError(
                f"{self._path} needs more room than the disk of {self._scratch} has free; make room there, or unpack "
                "it elsewhere and set data.source to the folder"
            )


class Decompressor(Protocol):
    """Interface of the decompressors in bz2 and lzma."""

    @property
    def eof(self) -> bool:
        """True after the end of the stream."""

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most `max_length` bytes, keeping unused input for the next call."""


class DeflateDecompressor:
    """Adapter of zlib: the interface of bz2 and lzma, which keep unused input themselves."""

    def __init__(self, window_bits: int) -> None:
        self._zlib = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        """True after the end of the stream."""
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        """Input after the end of the stream."""
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most `max_length` bytes, keeping unused input for the next call."""
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


class ZipLzmaDecompressor:
    """LZMA decompressor for zip members, which have their own header and often only a declared size, no end marker."""

    HEADER = 9  # bytes: version (2), length of the properties (2), the properties (5)

    def __init__(self, header: bytes, size: int) -> None:
        """header: the first 9 packed bytes. size: unpacked, in bytes. Raises DamagedArchiveError."""
        dictionary = min(int.from_bytes(header[5:9], "little"), max(size, 4096))  # no match lies further back
        if len(header) < self.HEADER or header[2:4] != b"\x05\x00" or header[4] >= 9 * 5 * 5:
            raise DamagedArchiveError("its LZMA header is damaged")
        if dictionary > MAX_DICTIONARY_MIB << 20:
            raise DamagedArchiveError(
                f"it asks for a dictionary of {dictionary >> 20} MiB, the limit is {MAX_DICTIONARY_MIB}"
            )
        properties = {"lc": header[4] % 9, "lp": header[4] // 9 % 5, "pb": header[4] // 45, "dict_size": dictionary}
        try:
            self._lzma = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, **properties}])
        except (lzma.LZMAError, ValueError) as error:
            raise DamagedArchiveError(f"its LZMA header is damaged: {error}") from None
        self._left = size

    @property
    def eof(self) -> bool:
        """True after the end of the stream."""
        return self._lzma.eof or self._left <= 0

    @property
    def unused_data(self) -> bytes:
        """Always empty: a zip member knows its size."""
        return b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most `max_length` bytes, keeping unused input for the next call."""
        unpacked = self._lzma.decompress(data, max_length)
        self._left -= len(unpacked)
        return unpacked


def _lzma_stream() -> Decompressor:
    return lzma.LZMADecompressor(memlimit=MAX_DICTIONARY_MIB << 20)


RAW_DEFLATE = partial(DeflateDecompressor, -zlib.MAX_WBITS)
GZIP = partial(DeflateDecompressor, 16 + zlib.MAX_WBITS)
XZ: Callable[[], Decompressor] = _lzma_stream


def decompress(
    packed: Iterable[bytes], make_decompressor: Callable[[], Decompressor], *, concatenated: bool
) -> Iterator[bytes]:
    """Yield the decompressed bytes in chunks of at most CHUNK_BYTES.

    concatenated: accept further streams after the first, as `cat` makes them, with zeros as padding; otherwise input
    after the first stream is left unread. Raises DamagedArchiveError when the data is damaged or ends early.
    """
    chunks = iter(packed)
    decompressor, data = make_decompressor(), b""
    while True:
        try:
            unpacked = decompressor.decompress(data, CHUNK_BYTES)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise DamagedArchiveError(_reason(error)) from None
        data = b""
        if unpacked:
            yield unpacked
        if decompressor.eof:
            data = decompressor.unused_data.lstrip(b"\0") if concatenated else b""
            while concatenated and not data and (chunk := next(chunks, b"")):
                data = chunk.lstrip(b"\0")
            if not data:
                return
            decompressor = make_decompressor()
        elif not unpacked:
            data = next(chunks, b"")
            if not data:
                raise DamagedArchiveError("it ends early")


def _reason(error: Exception) -> str:
    if isinstance(error, lzma.LZMAError) and "emory" in str(error):
        return f"unpacking it takes more than {MAX_DICTIONARY_MIB} MiB of memory"
    return f"it is damaged ({error})"
