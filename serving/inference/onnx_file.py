"""Validation of an ONNX file for ONNX Runtime, which trusts the sizes and paths that a file declares.

Parses protobuf's wire format (https://protobuf.dev/programming-guides/encoding) by the field numbers of onnx.proto, as
far as needed to find the metadata and every tensor; no declared size is allocated.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from serving.errors import ModelError

MAX_FIELDS = 1_000_000  # a large generator has some 10,000
MAX_NESTING = 8  # graphs within graphs (the branches of If, the bodies of Loop); an exported generator has none
EXTERNAL = 1  # TensorProto.DataLocation: the values are in another file

# For each message type, the fields with submessages that lead to tensors, graphs and metadata.
SUBMESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 14: "entry", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
DIMS, NAME, EXTERNAL_DATA, DATA_LOCATION = 1, 8, 13, 14  # of a tensor
VALUES = frozenset({4, 5, 6, 7, 9, 10, 11})  # the fields of a tensor that may hold its values
MAX_VALUES_PER_BYTE = 2  # of 4 bits

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


class _WireFormatError(Exception):
    """Bytes that are not a protobuf message."""


@dataclass
class _Scan:
    """The state of a scan: counts and metadata so far."""

    path: str
    fields: int = 0
    graphs: int = 0
    metadata: dict[str, str] = field(default_factory=dict)


def read_metadata(content: bytes, path: str) -> dict[str, str]:
    """The metadata of a valid, self-contained model file.

    Raises ModelError for a file that is damaged, that takes values from another file, or that declares larger tensors
    than it holds or deeper graphs than any generator has.
    """
    scan = _Scan(path)
    try:
        _scan_message(memoryview(content), "model", 0, scan)
    except (_WireFormatError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path} is not a whole ONNX file ({error or 'it is cut short'}); copy it again or export it again"
        ) from None
    if not scan.graphs:
        raise ModelError(f"{path} is not a whole ONNX file (it has no graph); copy it again or export it again")
    return scan.metadata


def _scan_message(message: memoryview, kind: str, depth: int, scan: _Scan) -> None:
    """Scan a message and its submessages; depth: number of enclosing graphs."""
    if kind == "graph":
        scan.graphs += 1
        depth += 1
        if depth > MAX_NESTING:
            raise ModelError(f"{scan.path} has graphs nested more than {MAX_NESTING} deep; export it with Mint")
    if kind == "tensor":
        _check_tensor(message, scan)
    elif kind == "entry":
        _add_entry(message, scan)
    else:
        for number, value in _fields(message, scan):
            submessage = SUBMESSAGES[kind].get(number)
            if submessage is not None:
                if isinstance(value, int):
                    raise _WireFormatError(f"a {submessage} is a number")
                _scan_message(value, submessage, depth, scan)


def _check_tensor(message: memoryview, scan: _Scan) -> None:
    """Raise ModelError for a tensor whose values are in another file, or incomplete."""
    dims: list[int] = []
    value_bytes = 0
    name, external = "", False
    for number, value in _fields(message, scan):
        if number == DIMS:
            dims += [value] if isinstance(value, int) else _varints(value)
        elif number in VALUES:
            value_bytes += 8 if isinstance(value, int) else len(value) + 1  # a string may be empty
        elif number == NAME and not isinstance(value, int):
            name = bytes(value[:60]).decode(errors="replace")
        elif number == EXTERNAL_DATA or (number == DATA_LOCATION and value == EXTERNAL):
            external = True
    if external:
        raise ModelError(
            f"{scan.path} takes the numbers of {name!a} from another file, which is refused; export it as one file"
        )
    declared = math.prod(dims)  # a negative size is read as a huge unsigned one
    if declared > MAX_VALUES_PER_BYTE * value_bytes:
        raise ModelError(
            f"{scan.path} declares a tensor {name!a} of {declared} numbers and holds fewer; export it again"
        )


def _add_entry(message: memoryview, scan: _Scan) -> None:
    """Add a key and value to the metadata."""
    pair = {number: bytes(value).decode() for number, value in _fields(message, scan) if not isinstance(value, int)}
    scan.metadata[pair.get(1, "")] = pair.get(2, "")


def _fields(message: memoryview, scan: _Scan) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of each field of a message; fixed-length numbers as bytes."""
    offset = 0
    while offset < len(message):
        scan.fields += 1
        if scan.fields > MAX_FIELDS:
            raise ModelError(f"{scan.path} has more than {MAX_FIELDS} parts; export it with Mint")
        key, offset = _varint(message, offset)
        value: int | memoryview
        wire = key & 7
        if wire == VARINT:
            value, offset = _varint(message, offset)
        else:
            if wire == BYTES:
                length, offset = _varint(message, offset)
            elif wire in (FIXED32, FIXED64):
                length = 4 if wire == FIXED32 else 8
            else:
                raise _WireFormatError(f"a field of the unknown type {wire}")
            if length > len(message) - offset:
                raise _WireFormatError("it is cut short")
            value = message[offset : offset + length]
            offset += length
        yield key >> 3, value


def _varints(packed: memoryview) -> list[int]:
    """Decode the numbers of a packed field."""
    numbers, offset = [], 0
    while offset < len(packed):
        number, offset = _varint(packed, offset)
        numbers.append(number)
    return numbers


def _varint(message: memoryview, offset: int) -> tuple[int, int]:
    """Decode a variable-length number; return it and the offset after it."""
    number = 0
    for shift in range(0, 70, 7):
        if offset >= len(message):
            raise _WireFormatError("it is cut short")
        byte = message[offset]
        offset += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, offset
    raise _WireFormatError("a number of more than 64 bits")
