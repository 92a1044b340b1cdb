"""The Accept header: which format a client would like best."""

from collections.abc import Mapping
from typing import TypeVar

from serving.errors import InputError

LONGEST_ACCEPT = 1000  # characters; browsers send about 150
MISNAMED = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg"}

F = TypeVar("F", bound=str)


def preferred_format(accept: str, media_types: Mapping[F, str]) -> F:
    """The format that an Accept header asks for (RFC 9110, section 12.5.1); the first where it asks for nothing.

    media_types: of each format. Between equal qualities the more precise range wins, then the earlier one, then the
    order of the formats. Raises InputError when none of them is acceptable, and for a header of absurd length.
    """
    if accept in ("", "*/*"):
        return next(iter(media_types))
    if len(accept) > LONGEST_ACCEPT:
        raise InputError(f"the Accept header has more than {LONGEST_ACCEPT} characters; send a shorter one", "Accept")
    ranges = _ranges(accept) or {"*/*": (1.0, 0)}
    best: tuple[float, int, int] | None = None
    chosen: F | None = None
    for format, media_type in media_types.items():
        names = ("*/*", media_type.split("/")[0] + "/*", media_type)
        precise = max((names.index(name) for name in names if name in ranges), default=None)
        if precise is None:
            continue
        quality, position = ranges[names[precise]]
        rank = (quality, precise, -position)
        if quality > 0 and (best is None or rank > best):
            best, chosen = rank, format
    if chosen is None:
        raise InputError(
            f"nothing in the Accept header can be made here; ask for {', '.join(media_types.values())}", "Accept"
        )
    return chosen


def _ranges(accept: str) -> dict[str, tuple[float, int]]:
    """Media ranges in lower case, each with its quality (0 where it is unreadable) and its position."""
    ranges: dict[str, tuple[float, int]] = {}
    for position, item in enumerate(accept.lower().split(",")):
        name, *parameters = (part.strip() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                quality = _quality(parameter[2:])
        if name:
            ranges.setdefault(MISNAMED.get(name, name), (quality, position))
    return ranges


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
