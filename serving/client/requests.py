"""Request builders and response parsers of the client, without I/O, so that both clients share them."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypedDict, TypeVar

import httpx
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ValidationError

from serving.client import arguments
from serving.client.arguments import Label, optional, without_none
from serving.errors import InputError, MintError
from serving.http.schemas import (
    ANIMATION_MEDIA_TYPES,
    MEDIA_TYPES,
    AnimationFormat,
    ErrorResponse,
    ModelResponse,
    ModelsResponse,
    Problem,
    numbers_from_header,
)

JSON, NPY = MEDIA_TYPES["json"], MEDIA_TYPES["npy"]

Images = NDArray[np.uint8]
ImageFormat = Literal["png", "jpeg", "webp"]
Attempt = httpx.Response | httpx.RequestError  # response or failure of one attempt

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)


class ServerError(MintError):
    """Error response of the service, or a response that is not Mint's."""

    def __init__(self, status: int, sentence: str, detail: Sequence[Problem] = ()) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.detail = tuple(detail)  # the fields at fault, if the request is invalid


class NoResponseError(MintError):
    """No complete response: the service is unreachable, or the connection was lost."""


@dataclass(frozen=True, eq=False)
class Generated:
    """Generated images with their seeds and labels."""

    images: Images  # [N, H, W, C]
    seeds: tuple[int, ...] | None  # None if generated from latents, or if too many for a header
    labels: tuple[int, ...] | None  # None for a model without classes, or if too many for a header
    model_id: str


class InterpolateOptions(TypedDict, total=False):
    """Arguments of `interpolate`: exactly one of seeds and latents; the others default to the service's values."""

    seeds: Sequence[int]
    latents: ArrayLike  # [keyframes, latent_dim]
    labels: Label | Sequence[Label]  # one for all keyframes, or one for each
    steps: int  # frames from one keyframe to the next
    path: Literal["slerp", "lerp"]
    loop: bool  # return to the first keyframe
    truncation: float
    size: int  # longer side of a frame in pixels
    fps: float
    model: str


@dataclass(frozen=True)
class ApiRequest(Generic[T]):
    """Request to the service with the parser of its response."""

    method: str
    path: str
    media_type: str  # of a successful response
    read: Callable[[httpx.Response], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    npy: bytes | None = None

    def build(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """Build the HTTP request; raises InputError for values that neither JSON nor a URL can hold."""
        headers = {} if self.npy is None else {"Content-Type": NPY}
        try:
            return http.build_request(
                self.method, self.path, params=self.params, json=self.json, content=self.npy, headers=headers
            )
        except (TypeError, ValueError, httpx.InvalidURL) as error:  # NaN, a lone surrogate, a URL too long
            raise InputError(f"this request cannot be written: {str(error)[:200]}") from None

    def parse(self, attempt: Attempt) -> T:
        """Parse the response; raises NoResponseError or ServerError."""
        if isinstance(attempt, httpx.RequestError):
            url, reason = _without_query(attempt.request.url), str(attempt)[:200] or type(attempt).__name__
            raise NoResponseError(
                f"no answer from {url} ({reason}); check the address and whether the service runs"
            ) from attempt
        if not attempt.is_success:
            raise _server_error(attempt)
        if attempt.headers.get("Content-Type", "").split(";")[0] == self.media_type:
            try:
                return self.read(attempt)
            except (KeyError, ValueError, EOFError):  # pydantic's and numpy's errors are ValueErrors
                pass
        raise ServerError(
            attempt.status_code,
            f"{_without_query(attempt.url)} does not answer as this version of Mint does; check the address, or update "
            "the older side",
        )


def _server_error(response: httpx.Response) -> ServerError:
    """Parse an error response, from Mint or from a proxy in between."""
    try:
        error = ErrorResponse.model_validate_json(response.content)
    except ValidationError:
        url = _without_query(response.url)
        return ServerError(response.status_code, f"{url} answered {response.status_code} {response.reason_phrase}")
    return ServerError(response.status_code, error.error, error.detail)


def _without_query(url: httpx.URL) -> str:
    """URL for error messages, without the query, which may have thousands of characters."""
    return str(url.copy_with(query=None))[:200]


def generate(
    seeds: Sequence[int] | None,
    count: int | None,
    latents: ArrayLike | None,
    labels: Label | Sequence[Label] | None,
    truncation: float,
    model: str | None,
) -> ApiRequest[Generated]:
    """POST /generate; latents are sent as .npy, or as JSON if each has a label: the query would be too long."""
    _check_source(seeds=seeds, count=count, latents=latents)
    options = without_none(
        labels=optional(arguments.labels, labels, "labels"),
        truncation=arguments.number(truncation, "truncation"),
        format="npy",
        model=optional(arguments.text, model, "model"),
    )
    if latents is None:
        source = without_none(
            seeds=optional(arguments.seeds, seeds, "seeds"), count=optional(arguments.integer, count, "count")
        )
        content: dict[str, Any] = {"json": source | options}
    elif isinstance(options.get("labels"), list):
        content = {"json": {"latents": arguments.latent_rows(latents).tolist()} | options}
    else:
        body = io.BytesIO()
        np.save(body, arguments.latent_rows(latents), allow_pickle=False)
        content = {"params": options, "npy": body.getvalue()}
    return ApiRequest("POST", "generate", NPY, _read_generated, **content)


def image(
    seed: int, label: Label | None, truncation: float, size: int | None, model: str | None, format: ImageFormat
) -> ApiRequest[bytes]:
    """GET /images/{seed}.{format}."""
    format = arguments.format_name(format, ("png", "jpeg", "webp"))
    params = without_none(
        label=optional(arguments.label, label, "label"),
        truncation=arguments.number(truncation, "truncation"),
        size=optional(arguments.integer, size, "size"),
        model=optional(arguments.text, model, "model"),
    )
    return ApiRequest(
        "GET", f"images/{arguments.integer(seed, 'seed')}.{format}", MEDIA_TYPES[format], _read_bytes, params
    )


def interpolate(format: AnimationFormat, options: InterpolateOptions) -> ApiRequest[Images | bytes]:
    """POST /interpolate."""
    seeds, latents = options.get("seeds"), options.get("latents")
    _check_source(seeds=seeds, latents=latents)
    format = arguments.format_name(format, tuple(ANIMATION_MEDIA_TYPES))
    converted = {
        "seeds": optional(arguments.seeds, seeds, "seeds"),
        "latents": None if latents is None else arguments.latent_rows(latents).tolist(),
        "labels": optional(arguments.labels, options.get("labels"), "labels"),
        "loop": None if (loop := options.get("loop")) is None else bool(loop),
        "format": format,
        **{name: optional(arguments.integer, options.get(name), name) for name in ("steps", "size")},
        **{name: optional(arguments.number, options.get(name), name) for name in ("truncation", "fps")},
    }
    read: Callable[[httpx.Response], Images | bytes] = _read_images if format == "npy" else _read_bytes
    return ApiRequest(
        "POST", "interpolate", ANIMATION_MEDIA_TYPES[format], read, json=without_none(**{**options, **converted})
    )


def model(name: str | None) -> ApiRequest[ModelResponse]:
    """GET /model."""
    return ApiRequest(
        "GET", "model", JSON, _read_as(ModelResponse), without_none(model=optional(arguments.text, name, "model"))
    )


def models() -> ApiRequest[ModelsResponse]:
    """GET /models."""
    return ApiRequest("GET", "models", JSON, _read_as(ModelsResponse))


def _read_as(kind: type[Model]) -> Callable[[httpx.Response], Model]:
    return lambda response: kind.model_validate_json(response.content)


def _read_generated(response: httpx.Response) -> Generated:
    headers = response.headers
    seeds, labels = (_numbers(headers.get(name)) for name in ("X-Mint-Seeds", "X-Mint-Labels"))
    return Generated(_read_images(response), seeds, labels, headers["X-Mint-Model"])


def _read_images(response: httpx.Response) -> Images:
    images: Images = np.load(io.BytesIO(response.content), allow_pickle=False)
    return images


def _read_bytes(response: httpx.Response) -> bytes:
    return response.content


def _numbers(header: str | None) -> tuple[int, ...] | None:
    return None if header is None else numbers_from_header(header)


def _check_source(**sources: object) -> None:
    """Raise InputError unless exactly one is given."""
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        raise InputError(f"give exactly one of {', '.join(sources)}; you gave {' and '.join(given) or 'none of them'}")
