"""Argument conversion: Python, NumPy and torch values to JSON values; raises InputError for anything else."""

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.errors import InputError

Label = int | str  # index or name of a class

T = TypeVar("T")
FormatName = TypeVar("FormatName", bound=str)


def without_none(**options: object) -> dict[str, Any]:
    """Drop the options that are None, which leaves them to the service's defaults."""
    return {name: value for name, value in options.items() if value is not None}


def optional(convert: Callable[[object, str], T], value: object, name: str) -> T | None:
    """Convert a value unless it is None. name: the argument's name in error messages."""
    return None if value is None else convert(value, name)


def format_name(value: str, known: tuple[FormatName, ...]) -> FormatName:
    """Validate a format name; `jpg` is an alias of `jpeg`."""
    for name in known:
        if name == ("jpeg" if value == "jpg" else value):
            return name
    raise InputError(f"there is no format {str(value)[:40]!r} here; choose one of {', '.join(known)}", "format")


def integer(value: object, name: str) -> int:
    """Convert to int; 7.0 is accepted, 7.9 is not."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    converted = number(value, name)
    if not converted.is_integer():
        raise InputError(f"{name}: {str(value)[:40]} is not a whole number", name)
    return int(converted)


def number(value: object, name: str) -> float:
    """Convert to a finite float; strings are not accepted."""
    try:
        converted = math.nan if isinstance(value, str | bytes) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        converted = math.nan
    if not math.isfinite(converted):
        raise InputError(f"{name}: {str(value)[:40]!r} is not a number", name)
    return converted


def text(value: object, name: str) -> str:
    """Convert to str, such as a model's name."""
    if isinstance(value, str):
        return str(value)  # also converts numpy.str_
    raise InputError(f"{name}: {str(value)[:40]!r} is not a text", name)


def label(value: object, name: str) -> Label:
    """Convert a class name or index; also accepts arrays and tensors without dimensions."""
    if getattr(value, "shape", None) == ():
        value = value.item()  # type: ignore[attr-defined]
    return text(value, name) if isinstance(value, str) else integer(value, name)


def labels(values: object, name: str) -> Label | list[Label]:
    """Convert one label for all images, or a list with one for each."""
    if isinstance(values, str) or not _is_list(values):
        return label(values, name)
    return [label(value, name) for value in values]  # type: ignore[attr-defined]


def seeds(values: object, name: str) -> list[int]:
    """Convert any sequence of integers to a list."""
    if isinstance(values, str | bytes) or not _is_list(values):
        raise InputError(f"{name} is a list of whole numbers, such as [7]", name)
    return [integer(value, name) for value in values]  # type: ignore[attr-defined]


def latent_rows(latents: ArrayLike) -> NDArray[np.float32]:
    """Convert latents to finite float32 [N, latent_dim]."""
    try:
        with np.errstate(over="ignore"):  # overflow gives infinity, which is rejected below
            array = np.ascontiguousarray(latents, np.float32)
    except (TypeError, ValueError):
        array = np.empty(0, np.float32)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise InputError("latents are rows of finite numbers, [N, latent_dim]; these are not", "latents")
    return array


def _is_list(values: object) -> bool:
    """True for iterables, except arrays without dimensions, which have `__iter__` but hold a single value."""
    return isinstance(values, Iterable) and getattr(values, "shape", None) != ()
