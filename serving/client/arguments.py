"""Values of a request as JSON has them, from Python, numpy or torch; InputError for what the service could not take."""

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


def given(**options: object) -> dict[str, Any]:
    """The options that have a value; the service has defaults for the others."""
    return {name: value for name, value in options.items() if value is not None}


def optional(convert: Callable[[object, str], T], value: object, name: str) -> T | None:
    """The value converted, where there is one. name: what a sentence calls it."""
    return None if value is None else convert(value, name)


def format_name(value: str, known: tuple[FormatName, ...]) -> FormatName:
    """The format as the service calls it; `jpg` is another name of `jpeg`."""
    for name in known:
        if name == ("jpeg" if value == "jpg" else value):
            return name
    raise InputError(f"there is no format {str(value)[:40]!r} here; choose one of {', '.join(known)}", "format")


def whole(value: object, name: str) -> int:
    """A whole number; 7.0 is one, 7.9 is none."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    converted = number(value, name)
    if not converted.is_integer():
        raise InputError(f"{name}: {str(value)[:40]} is not a whole number", name)
    return int(converted)


def number(value: object, name: str) -> float:
    """A finite number; a text that looks like one is none."""
    try:
        converted = math.nan if isinstance(value, str | bytes) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        converted = math.nan
    if not math.isfinite(converted):
        raise InputError(f"{name}: {str(value)[:40]!r} is not a number", name)
    return converted


def text(value: object, name: str) -> str:
    """A text, such as a model's name."""
    if isinstance(value, str):
        return str(value)  # numpy's str_ too
    raise InputError(f"{name}: {str(value)[:40]!r} is not a text", name)


def label(value: object, name: str) -> Label:
    """A class by name or index; of an array or tensor without dimensions, what is in it."""
    if getattr(value, "shape", None) == ():
        value = value.item()  # type: ignore[attr-defined]
    return text(value, name) if isinstance(value, str) else whole(value, name)


def labels(values: object, name: str) -> Label | list[Label]:
    """One label for all images, or a list with one for each."""
    if isinstance(values, str) or not _is_list(values):
        return label(values, name)
    return [label(value, name) for value in values]  # type: ignore[attr-defined]


def seeds(values: object, name: str) -> list[int]:
    """A list of whole numbers, from whatever sequence holds them."""
    if isinstance(values, str | bytes) or not _is_list(values):
        raise InputError(f"{name} is a list of whole numbers, such as [7]", name)
    return [whole(value, name) for value in values]  # type: ignore[attr-defined]


def rows(latents: ArrayLike) -> NDArray[np.float32]:
    """Latents as float32 [N, latent_dim], all of them finite."""
    try:
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, which is refused below
            array = np.ascontiguousarray(latents, np.float32)
    except (TypeError, ValueError):
        array = np.empty(0, np.float32)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise InputError("latents are rows of finite numbers, [N, latent_dim]; these are not", "latents")
    return array


def _is_list(values: object) -> bool:
    """Whether there are values in it; an array without dimensions is a single number that only looks iterable."""
    return isinstance(values, Iterable) and getattr(values, "shape", None) != ()
