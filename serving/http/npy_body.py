"""Latents in the body of a request, as the bytes of a .npy file."""

import io
import math

import numpy as np

from serving.errors import InputError
from serving.inference.latents import Latents

FIELD = "body"
MAX_LENGTH = 1 << 62  # rows or columns
READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_latents(body: bytes) -> Latents:
    """Parse a .npy file with a float32 array [N, latent_dim]; raises InputError for any other content.

    numpy's `load` allocates whatever shape the header declares before it reads the content, so only the header is
    parsed by numpy.
    """
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran_order, dtype = READERS[version](file)
        # numpy parses a Python literal: True counts as an int there, and an int may have a thousand digits.
        valid = all(type(size) is int and 0 <= size < MAX_LENGTH for size in shape)
    except Exception:  # of any type
        valid = False
    if not valid:
        raise InputError("the body is not a .npy file; write it with numpy.save(file, latents)", FIELD)
    if dtype != np.float32:
        found = "Python objects" if dtype.hasobject else str(dtype)[:40]
        raise InputError(f"the body holds {found}; send latents.astype(numpy.float32)", FIELD)
    if len(shape) != 2 or not shape[0]:
        raise InputError(
            f"the body has the shape {str(list(shape))[:60]}; send latents of shape [N, latent_dim]", FIELD
        )
    content = body[file.tell() :]
    expected = math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise InputError(
            f"the body's header promises {str(expected)[:20]} bytes and {len(content)} follow; send the whole file",
            FIELD,
        )
    numbers = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
    return np.ascontiguousarray(numbers, np.float32)
