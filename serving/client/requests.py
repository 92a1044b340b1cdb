"""What each request of the client says, and how its answer is read. Nothing here opens a connection."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypedDict, TypeVar

import httpx
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ValidationError

from serving.client import arguments
from serving.client.arguments import Label, given, optional
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
Picture = Literal["png", "jpeg", "webp"]
Attempt = httpx.Response | httpx.RequestError  # of one attempt

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)


class ServerError(MintError):
    """The service's answer, where it is not what was asked for."""

    def __init__(self, status: int, sentence: str, detail: Sequence[Problem] = ()) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.detail = tuple(detail)  # where in the request, when that is what is wrong


class NoResponseError(MintError):
    """The service cannot be reached, or the connection ended before its answer did."""


@dataclass(frozen=True, eq=False)
class Generated:
    """Images, and what they were made from."""

    images: Images  # [N, H, W, C]
    seeds: tuple[int, ...] | None  # None for images of latents, and where there were too many for a header
    labels: tuple[int, ...] | None  # None for a model without classes, and where there were too many for a header
    model_id: str


class InterpolateOptions(TypedDict, total=False):
    """What `interpolate` may be told: exactly one of seeds and latents; the service has defaults for the rest."""

    seeds: Sequence[int]
    latents: ArrayLike  # [keyframes, latent_dim]
    labels: Label | Sequence[Label]  # one for all keyframes, or one for each
    steps: int  # frames from one keyframe to the next
    path: Literal["slerp", "lerp"]
    loop: bool  # back to the first keyframe
    truncation: float
    size: int  # side of a frame in pixels
    fps: float
    model: str


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    media_type: str  # of the answer
    read: Callable[[httpx.Response], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    npy: bytes | None = None

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request as it is sent; raises InputError for values that neither JSON nor an address can hold."""
        headers = {} if self.npy is None else {"Content-Type": NPY}
        try:
            return http.build_request(
                self.method, self.path, params=self.params, json=self.json, content=self.npy, headers=headers
            )
        except (TypeError, ValueError, httpx.InvalidURL) as error:  # NaN, half a character, an address too long
            raise InputError(f"this request cannot be written: {str(error)[:200]}") from None

    def result(self, outcome: Attempt) -> T:
        """What was asked for; raises NoAnswer or ServerError."""
        if isinstance(outcome, httpx.RequestError):
            where, why = _without_query(outcome.request.url), str(outcome)[:200] or type(outcome).__name__
            raise NoResponseError(
                f"no answer from {where} ({why}); check the address and whether the service runs"
            ) from outcome
        if not outcome.is_success:
            raise _refusal(outcome)
        if outcome.headers.get("Content-Type", "").split(";")[0] == self.media_type:
            try:
                return self.read(outcome)
            except (KeyError, ValueError, EOFError):  # pydantic's and numpy's errors are ValueErrors
                pass
        raise ServerError(
            outcome.status_code,
            f"{_without_query(outcome.url)} does not answer as this version of Mint does; check the address, or update "
            "the older side",
        )


def _refusal(response: httpx.Response) -> ServerError:
    """The error in an answer, whether Mint sent it or something between it and us."""
    try:
        error = ErrorResponse.model_validate_json(response.content)
    except ValidationError:
        where = _without_query(response.url)
        return ServerError(response.status_code, f"{where} answered {response.status_code} {response.reason_phrase}")
    return ServerError(response.status_code, error.error, error.detail)


def _without_query(url: httpx.URL) -> str:
    """An address as a sentence can name it: without parameters, which may be thousands of characters."""
    return str(url.copy_with(query=None))[:200]


def generate(
    seeds: Sequence[int] | None,
    count: int | None,
    latents: ArrayLike | None,
    labels: Label | Sequence[Label] | None,
    truncation: float,
    model: str | None,
) -> Call[Generated]:
    """POST /generate; latents travel as the bytes they are, unless each has a label: the query would be too long."""
    _check_source(seeds=seeds, count=count, latents=latents)
    options = given(
        labels=optional(arguments.labels, labels, "labels"),
        truncation=arguments.number(truncation, "truncation"),
        format="npy",
        model=optional(arguments.text, model, "model"),
    )
    if latents is None:
        drawn = given(seeds=optional(arguments.seeds, seeds, "seeds"), count=optional(arguments.whole, count, "count"))
        sent: dict[str, Any] = {"json": drawn | options}
    elif isinstance(options.get("labels"), list):
        sent = {"json": {"latents": arguments.rows(latents).tolist()} | options}
    else:
        body = io.BytesIO()
        np.save(body, arguments.rows(latents), allow_pickle=False)
        sent = {"params": options, "npy": body.getvalue()}
    return Call("POST", "generate", NPY, _read_generated, **sent)


def image(
    seed: int, label: Label | None, truncation: float, size: int | None, model: str | None, format: Picture
) -> Call[bytes]:
    """GET /images/{seed}.{format}."""
    format = arguments.format_name(format, ("png", "jpeg", "webp"))
    params = given(
        label=optional(arguments.label, label, "label"),
        truncation=arguments.number(truncation, "truncation"),
        size=optional(arguments.whole, size, "size"),
        model=optional(arguments.text, model, "model"),
    )
    return Call("GET", f"images/{arguments.whole(seed, 'seed')}.{format}", MEDIA_TYPES[format], _read_bytes, params)


def interpolate(format: AnimationFormat, walk: InterpolateOptions) -> Call[Images | bytes]:
    """POST /interpolate."""
    seeds, latents = walk.get("seeds"), walk.get("latents")
    _check_source(seeds=seeds, latents=latents)
    format = arguments.format_name(format, tuple(ANIMATION_MEDIA_TYPES))
    converted = {
        "seeds": optional(arguments.seeds, seeds, "seeds"),
        "latents": None if latents is None else arguments.rows(latents).tolist(),
        "labels": optional(arguments.labels, walk.get("labels"), "labels"),
        "loop": None if (loop := walk.get("loop")) is None else bool(loop),
        "format": format,
        **{name: optional(arguments.whole, walk.get(name), name) for name in ("steps", "size")},
        **{name: optional(arguments.number, walk.get(name), name) for name in ("truncation", "fps")},
    }
    read: Callable[[httpx.Response], Images | bytes] = _read_images if format == "npy" else _read_bytes
    return Call("POST", "interpolate", ANIMATION_MEDIA_TYPES[format], read, json=given(**{**walk, **converted}))


def model(name: str | None) -> Call[ModelResponse]:
    """GET /model."""
    return Call("GET", "model", JSON, _read_as(ModelResponse), given(model=optional(arguments.text, name, "model")))


def models() -> Call[ModelsResponse]:
    """GET /models."""
    return Call("GET", "models", JSON, _read_as(ModelsResponse))


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
    """Raises InputError unless exactly one is given."""
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        raise InputError(f"give exactly one of {', '.join(sources)}; you gave {' and '.join(given) or 'none of them'}")
