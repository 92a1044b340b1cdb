"""Latents that arrive as the bytes of a .npy file."""

import io
import math

import numpy as np

from serving.errors import InputError
from serving.inference.latents import Latents

FIELD = "body"
LARGEST = 1 << 62  # rows or columns
READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_latents(body: bytes) -> Latents:
    """The float32 array [N, latent_dim] in a .npy file; raises InputError for any other content.

    numpy's own `load` makes room for whatever shape the header claims before it looks at what follows, and
    would unpickle objects if asked; here only the header is numpy's.
    """
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran_order, dtype = READERS[version](file)
        # numpy reads it as a Python literal: True is a whole number there, and one of a thousand digits may be.
        sound = all(type(size) is int and 0 <= size < LARGEST for size in shape)
    except Exception:  # whatever that can raise
        sound = False
    if not sound:
        raise InputError("the body is not a .npy file; write it with numpy.save(file, latents)", FIELD)
    if dtype != np.float32:
        said = "Python objects" if dtype.hasobject else str(dtype)[:40]
        raise InputError(f"the body holds {said}; send latents.astype(numpy.float32)", FIELD)
    if len(shape) != 2 or not shape[0]:
        raise InputError(
            f"the body has the shape {str(list(shape))[:60]}; send latents of shape [N, latent_dim]", FIELD
        )
    content = body[file.tell() :]
    wanted = math.prod(shape) * dtype.itemsize
    if len(content) != wanted:
        raise InputError(
            f"the body's header promises {str(wanted)[:20]} bytes and {len(content)} follow; send the whole file", FIELD
        )
    numbers = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
    return np.ascontiguousarray(numbers, np.float32)
