"""A look into an ONNX file before ONNX Runtime opens it, which trusts what the file declares.

Reads protobuf's wire format (https://protobuf.dev/programming-guides/encoding) by the field numbers of onnx.proto, as
far as it takes to find the metadata and every tensor; nothing is copied or allocated for what the file declares.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from serving.errors import ModelError

MAX_FILE_BYTES = 1 << 30
MAX_PARTS = 1_000_000  # fields that are looked at; a large generator has some 10,000
MAX_NESTING = 8  # graphs within graphs (the branches of If, the bodies of Loop); an exported generator has none
EXTERNAL = 1  # TensorProto.DataLocation: the numbers are in another file

# For each message the fields that hold others, of those that tensors, graphs and metadata are found through.
PARTS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 14: "entry", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
DIMS, NAME, EXTERNAL_DATA, DATA_LOCATION = 1, 8, 13, 14  # of a tensor
NUMBERS = frozenset({4, 5, 6, 7, 9, 10, 11})  # the fields of a tensor that its numbers may be in
NUMBERS_A_BYTE = 2  # at most: two of 4 bits

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


class _Damaged(Exception):
    """Bytes that are no protobuf message."""


@dataclass
class _Walk:
    """What has been found so far."""

    path: str
    parts: int = 0
    graphs: int = 0
    metadata: dict[str, str] = field(default_factory=dict)


def read_metadata(content: bytes, path: str) -> dict[str, str]:
    """The metadata of a model file that is whole in itself.

    Raises ModelError for a file that is damaged, that takes numbers from another file, or that declares larger tensors
    than it holds or deeper graphs than any generator has.
    """
    walk = _Walk(path)
    try:
        _look_into(memoryview(content), "model", 0, walk)
    except (_Damaged, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path} is not a whole ONNX file ({error or 'it is cut short'}); copy it again or export it again"
        ) from None
    if not walk.graphs:
        raise ModelError(f"{path} is not a whole ONNX file (it has no graph); copy it again or export it again")
    return walk.metadata


def _look_into(message: memoryview, kind: str, depth: int, walk: _Walk) -> None:
    """Looks at a message and everything in it; depth: graphs around it."""
    if kind == "graph":
        walk.graphs += 1
        depth += 1
        if depth > MAX_NESTING:
            raise ModelError(f"{walk.path} has graphs nested more than {MAX_NESTING} deep; export it with Mint")
    if kind == "tensor":
        _check_tensor(message, walk)
    elif kind == "entry":
        _add_entry(message, walk)
    else:
        for number, value in _fields(message, walk):
            part = PARTS[kind].get(number)
            if part is not None:
                if isinstance(value, int):
                    raise _Damaged(f"a {part} is a number")
                _look_into(value, part, depth, walk)


def _check_tensor(message: memoryview, walk: _Walk) -> None:
    """Raises ModelError for a tensor whose numbers are in another file, or not all there."""
    dims: list[int] = []
    held = 0  # bytes of numbers
    name, external = "", False
    for number, value in _fields(message, walk):
        if number == DIMS:
            dims += [value] if isinstance(value, int) else _varints(value)
        elif number in NUMBERS:
            held += 8 if isinstance(value, int) else len(value) + 1  # a string may be empty
        elif number == NAME and not isinstance(value, int):
            name = bytes(value[:60]).decode(errors="replace")
        elif number == EXTERNAL_DATA or (number == DATA_LOCATION and value == EXTERNAL):
            external = True
    if external:
        raise ModelError(
            f"{walk.path} takes the numbers of {name!a} from another file, which is refused; export it as one file"
        )
    declared = math.prod(dims)  # a negative size is a number of 64 bits here, and as much too large
    if declared > NUMBERS_A_BYTE * held:
        raise ModelError(
            f"{walk.path} declares a tensor {name!a} of {declared} numbers and holds fewer; export it again"
        )


def _add_entry(message: memoryview, walk: _Walk) -> None:
    """Keeps a pair of metadata."""
    pair = {number: bytes(value).decode() for number, value in _fields(message, walk) if not isinstance(value, int)}
    walk.metadata[pair.get(1, "")] = pair.get(2, "")


def _fields(message: memoryview, walk: _Walk) -> Iterator[tuple[int, int | memoryview]]:
    """The number and the value of each field of a message; numbers of a fixed length as bytes."""
    place = 0
    while place < len(message):
        walk.parts += 1
        if walk.parts > MAX_PARTS:
            raise ModelError(f"{walk.path} has more than {MAX_PARTS} parts; export it with Mint")
        key, place = _varint(message, place)
        value: int | memoryview
        wire = key & 7
        if wire == VARINT:
            value, place = _varint(message, place)
        else:
            if wire == BYTES:
                length, place = _varint(message, place)
            elif wire in (FIXED32, FIXED64):
                length = 4 if wire == FIXED32 else 8
            else:
                raise _Damaged(f"a field of the unknown type {wire}")
            if length > len(message) - place:
                raise _Damaged("it is cut short")
            value = message[place : place + length]
            place += length
        yield key >> 3, value


def _varints(packed: memoryview) -> list[int]:
    """The numbers of a packed field."""
    numbers, place = [], 0
    while place < len(packed):
        number, place = _varint(packed, place)
        numbers.append(number)
    return numbers


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of variable length, and the place after it."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise _Damaged("it is cut short")
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise _Damaged("a number of more than 64 bits")
