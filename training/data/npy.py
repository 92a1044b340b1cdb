"""Streaming writer of .npy files, so that the array never has to fit in memory."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from training.data.sources.base import Pixels


class NpyWriter:
    """Context manager that writes uint8 rows of one shape to an .npy file.

    numpy pads its header, so that the row count can be updated in place at the end; until then the header says 0 rows.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...]) -> None:
        self.rows = 0
        self._row_shape = row_shape
        self._file = path.open("wb")
        self._header_bytes = self._write_header()

    def append(self, row: Pixels) -> None:
        """Write one row."""
        if row.shape != self._row_shape or row.dtype != np.uint8:
            raise ValueError(f"a row is {row.dtype} {row.shape}, not uint8 {self._row_shape}")
        self._file.write(np.ascontiguousarray(row).data)
        self.rows += 1

    def _write_header(self) -> int:
        """Write the header for the rows so far at the start of the file; return its length in bytes."""
        self._file.seek(0)
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.rows, *self._row_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None and self._write_header() != self._header_bytes:
                raise RuntimeError("numpy changed the length of its header")
