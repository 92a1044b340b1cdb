"""Request parsing: body within limits of size and time, query string, and headers that negotiate content."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.requests import Request

from serving.error_messages import MAX_QUOTED, escaped
from serving.errors import InputError, MintError
from serving.http.schemas import Query
from serving.http.validation import to_input_error
from serving.inference.latents import MAX_IMAGES

JSON = "application/json"
MAX_PARAMETERS = MAX_IMAGES + 16  # a label for each image, and the others
MAX_ACCEPT = 1000  # characters; browsers send about 150
MEDIA_TYPE_ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg"}
LARGE_BODY = 1 << 16  # bytes that take about a millisecond to parse
BYTES_PER_NUMBER = 32  # a 64-bit float takes up to 25 characters in JSON, with its comma
BYTES_BESIDE_LATENTS = 1 << 20  # seeds, labels and white space

Q = TypeVar("Q", bound=Query)
F = TypeVar("F", bound=str)
T = TypeVar("T")

# One thread: parsing holds the GIL, and the event loop should get its turn after every body.
_parser = ThreadPoolExecutor(1, "mint-parse")


class BodyTooLargeError(MintError):
    """A body larger than any request needs."""

    status = 413


def max_body_bytes(max_images: int, latent_dim: int) -> int:
    """Return a body size that holds the largest request: max_images rows of latent_dim numbers."""
    return max_images * latent_dim * BYTES_PER_NUMBER + BYTES_BESIDE_LATENTS


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read a body; raises BodyTooLargeError before the rest of a larger one is read, InputError if compressed."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise InputError(
            f"the body is compressed (Content-Encoding: {encoding[:20]}); send it as it is", "Content-Encoding"
        )
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and (len(declared) > 18 or int(declared) > max_bytes):
        raise _too_large(max_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body is larger than {max_bytes} bytes; ask for fewer images at a time")


async def offload_if_large(size: int, work: Callable[[], T]) -> T:
    """Run `work` on a body of `size` bytes: at once if it is small, in the parser's thread if it is large."""
    if size < LARGE_BODY:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_parser, work)


def request_media_type(headers: Mapping[str, str], *accepted: str) -> str:
    """Return the media type of a body, the first accepted one if the header is missing or empty.

    Raises InputError for one that is not accepted.
    """
    media_type = headers.get("content-type", "").split(";", 1)[0].strip().lower() or accepted[0]
    if media_type not in accepted:
        raise InputError(
            f"the body is sent as {media_type[:60]}; send JSON with the header Content-Type: {' or '.join(accepted)}",
            "Content-Type",
        )
    return media_type


def parse_query(request: Request, schema: type[Q]) -> Q:
    """Parse the query string; raises InputError with one sentence about its first mistake.

    Bytes that are not percent-encoded are read as UTF-8, or as Latin-1 if they are not valid UTF-8.
    """
    query: bytes = request.scope["query_string"]
    try:
        text = query.decode()
    except UnicodeDecodeError:
        text = query.decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise InputError(f"the address has more than {MAX_PARAMETERS} parameters; give each of them once") from None
    try:
        return schema.model_validate(_group_parameters(pairs))
    except ValidationError as error:
        raise to_input_error(error, schema, "parameter") from None


def _group_parameters(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Map each parameter to its value, and `labels`, which may be given once an image, to a list."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name == "labels":
            values.setdefault(name, []).append(value)
        elif name in values:
            shown = escaped(name[:MAX_QUOTED])
            raise InputError(f"{shown} is given more than once in the address; give it once", shown)
        else:
            values[name] = value
    return values


def preferred_format(accept: str, media_types: Mapping[F, str]) -> F:
    """Choose the format that an Accept header prefers (RFC 9110, section 12.5.1), the first one by default.

    media_types: of each format. Between equal qualities the more specific range wins, then the earlier one, then the
    order of the formats. Raises InputError when none of them is acceptable, and for an overlong header.
    """
    if accept in ("", "*/*"):
        return next(iter(media_types))
    if len(accept) > MAX_ACCEPT:
        raise InputError(f"the Accept header has more than {MAX_ACCEPT} characters; send a shorter one", "Accept")
    ranges = _media_ranges(accept) or {"*/*": (1.0, 0)}
    best: tuple[float, int, int] | None = None
    chosen: F | None = None
    for format, media_type in media_types.items():
        names = ("*/*", media_type.split("/")[0] + "/*", media_type)
        specificity = max((names.index(name) for name in names if name in ranges), default=None)
        if specificity is None:
            continue
        quality, position = ranges[names[specificity]]
        rank = (quality, specificity, -position)
        if quality > 0 and (best is None or rank > best):
            best, chosen = rank, format
    if chosen is None:
        raise InputError(
            f"nothing in the Accept header can be made here; ask for {', '.join(media_types.values())}", "Accept"
        )
    return chosen


def _media_ranges(accept: str) -> dict[str, tuple[float, int]]:
    """Parse media ranges, in lower case, into the quality (0 where it is unreadable) and the position of each."""
    ranges: dict[str, tuple[float, int]] = {}
    for position, item in enumerate(accept.lower().split(",")):
        name, *parameters = (part.strip() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                quality = _quality(parameter[2:])
        if name:
            ranges.setdefault(MEDIA_TYPE_ALIASES.get(name, name), (quality, position))
    return ranges


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
