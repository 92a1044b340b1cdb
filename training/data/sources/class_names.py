"""Class names in arrays: Python's strings, which NumPy pickles, and labels that are names themselves."""

import io
import pickletools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.manifest import DataError
from training.data.sources.class_folders import in_class_order

LONGEST = 255  # characters of a name; NumPy makes every string of an array as long as the longest one
STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"}  # what pickle writes strings as
BETWEEN = {"MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT", "FRAME", "APPEND", "APPENDS"}  # what stands between them


def pickled_names(npy: bytes) -> NDArray[Any] | None:
    """The strings of an .npy file that holds them as Python objects; None for any other file.

    Only reads what the pickle says: unpickling would run it.
    """
    stream = io.BytesIO(npy)
    try:
        np.lib.format.read_magic(stream)
        _, _, dtype = np.lib.format.read_array_header_1_0(stream)
        operations = [(operation.name, argument) for operation, argument, _ in pickletools.genops(stream.read())]
    except Exception:  # a damaged header is parsed as Python, and a damaged pickle can fail in many ways
        return None
    names = [name for name, _ in operations]
    if not dtype.hasobject or "EMPTY_LIST" not in names:
        return None
    begin = names.index("EMPTY_LIST") + 1  # of the list of the array's values
    listed = operations[begin : names.index("TUPLE", begin)] if "TUPLE" in names[begin:] else []
    strings: list[str | bytes] = [argument for name, argument in listed if name in STRINGS]  # type: ignore[misc]
    others = {name for name, _ in listed} - STRINGS - BETWEEN
    if others or len({type(string) for string in strings}) != 1 or max(map(len, strings)) > LONGEST:
        return None
    return np.array(strings)


def labels_from_names(
    labels: NDArray[Any], names: list[str] | None, origin: str
) -> tuple[NDArray[np.int64], list[str]]:
    """Labels [N] that are class names, as indices into the names; without names, into those that occur.

    Raises DataError for a label that the names lack.
    """
    known = names if names is not None else in_class_order(set(labels.tolist()))
    if unknown := sorted(set(labels.tolist()) - set(known)):
        raise DataError(f"{origin}: the label {unknown[0]!r} is not among the class names; add it to them")
    index = {name: label for label, name in enumerate(known)}
    return np.array([index[name] for name in labels.tolist()], np.int64), known
