"""What a request says: its body, within limits of size and time, and the parameters of its address."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.requests import Request

from serving.errors import InputError, MintError
from serving.http.schemas import MAX_IMAGES, Query
from serving.http.validation import to_input_error
from serving.quoting import MAX_QUOTED, visible

JSON = "application/json"
MOST_PARAMETERS = MAX_IMAGES + 16  # a label for each image, and the others
LARGE = 1 << 16  # bytes of a body that takes about a millisecond to parse

Q = TypeVar("Q", bound=Query)
T = TypeVar("T")

# One thread: parsing does not let go of the interpreter, and the event loop should come to it after every body.
_parser = ThreadPoolExecutor(1, "mint-parse")


class BodyTooLargeError(MintError):
    """A body larger than the largest request there can be."""


async def read_body(request: Request, limit: int) -> bytes:
    """Read a body of at most `limit` bytes; raises BodyTooLargeError for a larger one, InputError if compressed."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise InputError(
            f"the body is compressed (Content-Encoding: {encoding[:20]}); send it as it is", "Content-Encoding"
        )
    claimed = request.headers.get("content-length", "")
    if claimed.isdigit() and (len(claimed) > 18 or int(claimed) > limit):
        raise _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


async def offload_if_large(size: int, work: Callable[[], T]) -> T:
    """The result of `work` on a body of `size` bytes: of a small one at once, of a large one in the parser's thread."""
    if size < LARGE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_parser, work)


def request_media_type(headers: Mapping[str, str], *accepted: str) -> str:
    """The media type of a body, the first one where the header is missing or empty; raises InputError for others."""
    media_type = headers.get("content-type", "").split(";", 1)[0].strip().lower() or accepted[0]
    if media_type not in accepted:
        raise InputError(
            f"the body is sent as {media_type[:60]}; send JSON with the header Content-Type: {' or '.join(accepted)}",
            "Content-Type",
        )
    return media_type


def parse_query(request: Request, schema: type[Q]) -> Q:
    """The parameters of an address; raises InputError with one sentence about the first thing that is wrong.

    Bytes that are not percent-encoded are taken for UTF-8, as they are where they are.
    """
    query: bytes = request.scope["query_string"]
    try:
        text = query.decode()
    except UnicodeDecodeError:
        text = query.decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise InputError(f"the address has more than {MOST_PARAMETERS} parameters; give each of them once") from None
    try:
        return schema.model_validate(_values(pairs))
    except ValidationError as error:
        raise to_input_error(error, schema, "parameter") from None


def _values(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Each parameter with its value, and `labels`, which may be given once an image, with all of them."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name == "labels":
            values.setdefault(name, []).append(value)
        elif name in values:
            shown = visible(name[:MAX_QUOTED])
            raise InputError(f"{shown} is given more than once in the address; give it once", shown)
        else:
            values[name] = value
    return values


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body is larger than {limit} bytes; ask for fewer images at a time")
