"""What a request says: its body, within limits of size and time, and the parameters of its address."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request

from serving.errors import InputError, MintError
from serving.explained import explained
from serving.schemas import Query

JSON = "application/json"

Q = TypeVar("Q", bound=Query)


class BodyTooLarge(MintError):
    """A body larger than the largest request there can be."""


async def read_body(request: Request, limit: int) -> bytes:
    """The body, of at most `limit` bytes; raises BodyTooLarge before the rest is read."""
    claimed = request.headers.get("content-length", "")
    if claimed.isdigit() and int(claimed) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def content_type(headers: Mapping[str, str], *accepted: str) -> str:
    """The media type of a body, the first one where the header is missing; raises InputError for others."""
    media_type = headers.get("content-type", accepted[0]).split(";")[0].strip().lower()
    if media_type not in accepted:
        raise InputError(
            f"the body is sent as {media_type[:60]}; send JSON with the header Content-Type: {' or '.join(accepted)}",
            "Content-Type",
        )
    return media_type


def read_query(params: QueryParams, schema: type[Q]) -> Q:
    """The parameters of an address; raises InputError with one sentence about the first thing that is wrong."""
    try:
        return schema.model_validate(dict(_values(params)))
    except ValidationError as error:
        raise explained(error, schema, "", "parameter") from None


def _values(params: QueryParams) -> Iterator[tuple[str, Any]]:
    """Each parameter with its value, and `labels`, which may be given once an image, with all of them."""
    for name in params:
        given = params.getlist(name)
        if name == "labels":
            yield name, given
        elif len(given) == 1:
            yield name, given[0]
        else:
            raise InputError(f"{name[:40]} is given {len(given)} times in the address; give it once", name[:40])


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes; ask for fewer images at a time")
