"""Decompression in bounded steps, and the budget of what a source may unpack to.

Python's own readers decompress first and cut to the declared size afterwards, and take what follows a damaged stream
for padding. Here memory holds one step at a time, and a stream is read to its proven end.
"""

import lzma
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from training.data.manifest import DataError

STEP = 1 << 18  # bytes decompressed at a time
RATIO = 200  # a source may unpack to so many times its size; pictures and arrays of them reach a few tens
FLOOR_MIB = 512  # what any source may unpack to, however small it is
RESERVE_MIB = 256  # left free on the disk
DICTIONARY_MIB = 256  # memory for LZMA: a header of a few bytes may ask for 4 GiB


class DamagedArchiveError(Exception):
    """Packed data that is not what it should be; its text is the reason."""


class Budget:
    """What a source may still unpack to, one for all of its files: in all, and onto the disk."""

    def __init__(self, origin: Path, packed: int, scratch: Path) -> None:
        """origin: the source, for its errors; packed: its bytes; scratch: the folder to which it is unpacked."""
        self._origin, self._scratch = origin, scratch
        self._inflated = max(FLOOR_MIB << 20, RATIO * packed)
        self._stored = shutil.disk_usage(scratch).free - (RESERVE_MIB << 20)

    def inflate(self, size: int) -> None:
        """Counts bytes that were or are to be unpacked. Raises DataError where it is too much for pictures."""
        self._inflated -= size
        if self._inflated < 0:
            raise DataError(
                f"{self._origin} unpacks to more than {FLOOR_MIB} MiB and {RATIO} times its size, which pictures do "
                "not; if you trust it, unpack it and set data.source to the folder"
            )

    def store(self, size: int) -> None:
        """Counts bytes that are about to be written. Raises DataError where the disk has no room for them."""
        self._stored -= size
        if self._stored < 0:
            raise DataError(
                f"{self._origin} needs more room than the disk of {self._scratch} has free; make room there, or unpack "
                "it elsewhere and set data.source to the folder"
            )


class Decoder(Protocol):
    """A decompressor of the standard library's kind."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def unused_data(self) -> bytes:
        """What was given and lies behind the end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` bytes; the rest of `data` is kept for the next call."""


class Deflate:
    """zlib's decompressor with the interface of the others, which keep by themselves what they could not use yet."""

    def __init__(self, window_bits: int) -> None:
        self._zlib = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        """What was given and lies behind the end."""
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` bytes; the rest of `data` is kept for the next call."""
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


class ZipLzma:
    """LZMA as zip members hold it: a header of its own, and an end that may be known from the declared size only."""

    HEADER = 9  # bytes: version (2), length of the properties (2), the properties (5)

    def __init__(self, header: bytes, size: int) -> None:
        """header: the first 9 bytes of the packed member; size: of the unpacked one. Raises DamagedError."""
        dictionary = min(int.from_bytes(header[5:9], "little"), max(size, 4096))  # nothing lies further back
        if len(header) < self.HEADER or header[2:4] != b"\x05\x00" or header[4] >= 9 * 5 * 5:
            raise DamagedArchiveError("its LZMA header is damaged")
        if dictionary > DICTIONARY_MIB << 20:
            raise DamagedArchiveError(
                f"it asks for a dictionary of {dictionary >> 20} MiB, the limit is {DICTIONARY_MIB}"
            )
        properties = {"lc": header[4] % 9, "lp": header[4] // 9 % 5, "pb": header[4] // 45, "dict_size": dictionary}
        try:
            self._lzma = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, **properties}])
        except (lzma.LZMAError, ValueError) as error:
            raise DamagedArchiveError(f"its LZMA header is damaged: {error}") from None
        self._left = size

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        return self._lzma.eof or self._left <= 0

    @property
    def unused_data(self) -> bytes:
        """What lies behind the end; nothing that matters in a zip."""
        return b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` bytes; the rest of `data` is kept for the next call."""
        unpacked = self._lzma.decompress(data, max_length)
        self._left -= len(unpacked)
        return unpacked


def _lzma_stream() -> Decoder:
    return lzma.LZMADecompressor(memlimit=DICTIONARY_MIB << 20)


RAW_DEFLATE = partial(Deflate, -zlib.MAX_WBITS)
GZIP = partial(Deflate, 16 + zlib.MAX_WBITS)
XZ: Callable[[], Decoder] = _lzma_stream


def inflated(packed: Iterable[bytes], new: Callable[[], Decoder], *, several: bool) -> Iterator[bytes]:
    """The unpacked bytes in pieces of at most STEP.

    several: whether another stream may follow the end of one, as in files joined with cat; zeros may pad them.
    Without, what follows is left unread. Raises DamagedError where the data is damaged or ends early.
    """
    chunks = iter(packed)
    decoder, data = new(), b""
    while True:
        try:
            unpacked = decoder.decompress(data, STEP)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise DamagedArchiveError(_reason(error)) from None
        data = b""
        if unpacked:
            yield unpacked
        if decoder.eof:
            data = decoder.unused_data.lstrip(b"\0") if several else b""
            while several and not data and (chunk := next(chunks, b"")):
                data = chunk.lstrip(b"\0")
            if not data:
                return
            decoder = new()
        elif not unpacked:
            data = next(chunks, b"")
            if not data:
                raise DamagedArchiveError("it ends early")


def _reason(error: Exception) -> str:
    if isinstance(error, lzma.LZMAError) and "emory" in str(error):
        return f"unpacking it takes more than {DICTIONARY_MIB} MiB of memory"
    return f"it is damaged ({error})"
