"""The two clients: they carry calls to a service and back, one blocking, one for async code."""

import asyncio
import math
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack, overload
from weakref import WeakKeyDictionary

import httpx
from numpy.typing import ArrayLike

from serving.client import requests
from serving.client.arguments import Label
from serving.client.proxies import connection_options
from serving.client.requests import Attempt, Call, Generated, Images, InterpolateOptions, Picture
from serving.client.retry import RetryPolicy
from serving.errors import InputError
from serving.http.schemas import ModelResponse, ModelsResponse

CONNECT_TIMEOUT_S = 10
TIMEOUT_S = 120.0  # longer than a service lets a request wait before it answers 504
KEEP_ALIVE_S = 3  # shorter than the server's, so that no request goes out on a connection that is being closed

T = TypeVar("T")


class MintClient:
    """A Mint service at an address.

    key: what it asks for, if it asks for one. patience: for how many seconds a request is sent again that a busy
    service refused, or that could not be sent. timeout: for how many seconds an answer, or the rest of one, is waited
    for. Methods raise NoAnswer and ServerError, and InputError for what no service could answer. Safe to use from
    several threads.
    """

    def __init__(self, url: str, key: str | None = None, patience: float = 60, timeout: float = TIMEOUT_S) -> None:
        self._http = httpx.Client(**_connection(url, key, timeout))
        self._patience = patience

    def generate(
        self,
        seeds: Sequence[int] | None = None,
        *,
        count: int | None = None,
        latents: ArrayLike | None = None,
        labels: Label | Sequence[Label] | None = None,
        truncation: float = 1.0,
        model: str | None = None,
    ) -> Generated:
        """Images of seeds, of `count` random seeds, or of latents [N, latent_dim]: of exactly one of them.

        labels: a class for all, or one for each image; without them seeds draw theirs. truncation: from 0, the average
        image, to 1. model: its name or id; without it the service's default.
        """
        return self._answer(requests.generate(seeds, count, latents, labels, truncation, model))

    def image(
        self,
        seed: int,
        *,
        label: Label | None = None,
        truncation: float = 1.0,
        size: int | None = None,
        model: str | None = None,
        format: Picture = "png",
    ) -> bytes:
        """The file of one image. size: its side in pixels; without it the model's own resolution."""
        return self._answer(requests.image(seed, label, truncation, size, model, format))

    @overload
    def interpolate(self, *, format: Literal["npy"], **walk: Unpack[InterpolateOptions]) -> Images: ...
    @overload
    def interpolate(
        self, *, format: Literal["gif", "webp", "png"] = "gif", **walk: Unpack[InterpolateOptions]
    ) -> bytes: ...
    def interpolate(
        self, *, format: Literal["gif", "webp", "png", "npy"] = "gif", **walk: Unpack[InterpolateOptions]
    ) -> Images | bytes:
        """Frames on the way from image to image: a film (gif, webp), a strip (png), or npy, uint8 [N, H, W, C]."""
        return self._answer(requests.interpolate(format, walk))

    def model(self, name: str | None = None) -> ModelResponse:
        """What is known of a model, by name or id; without one of the service's default."""
        return self._answer(requests.model(name))

    def models(self) -> ModelsResponse:
        """Every model of the service."""
        return self._answer(requests.models())

    def close(self) -> None:
        """Ends the connections; `with` does that too."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, call: Call[T]) -> T:
        patience = RetryPolicy(self._patience)
        while True:
            outcome: Attempt
            try:
                outcome = self._http.send(call.request(self._http))
            except httpx.RequestError as error:
                outcome = error
            pause = patience.pause(outcome)
            if pause is None:
                return call.result(outcome)
            time.sleep(pause)


class AsyncMintClient:
    """`Mint` for async code: the same methods, awaited; from one event loop after another too."""

    def __init__(self, url: str, key: str | None = None, patience: float = 60, timeout: float = TIMEOUT_S) -> None:
        self._options = _connection(url, key, timeout)
        # Connections belong to the event loop that opened them, and each asyncio.run makes a new one.
        self._https: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()
        self._patience = patience

    async def generate(
        self,
        seeds: Sequence[int] | None = None,
        *,
        count: int | None = None,
        latents: ArrayLike | None = None,
        labels: Label | Sequence[Label] | None = None,
        truncation: float = 1.0,
        model: str | None = None,
    ) -> Generated:
        """See `Mint.generate`."""
        return await self._answer(requests.generate(seeds, count, latents, labels, truncation, model))

    async def image(
        self,
        seed: int,
        *,
        label: Label | None = None,
        truncation: float = 1.0,
        size: int | None = None,
        model: str | None = None,
        format: Picture = "png",
    ) -> bytes:
        """See `Mint.image`."""
        return await self._answer(requests.image(seed, label, truncation, size, model, format))

    @overload
    async def interpolate(self, *, format: Literal["npy"], **walk: Unpack[InterpolateOptions]) -> Images: ...
    @overload
    async def interpolate(
        self, *, format: Literal["gif", "webp", "png"] = "gif", **walk: Unpack[InterpolateOptions]
    ) -> bytes: ...
    async def interpolate(
        self, *, format: Literal["gif", "webp", "png", "npy"] = "gif", **walk: Unpack[InterpolateOptions]
    ) -> Images | bytes:
        """See `Mint.interpolate`."""
        return await self._answer(requests.interpolate(format, walk))

    async def model(self, name: str | None = None) -> ModelResponse:
        """See `Mint.model`."""
        return await self._answer(requests.model(name))

    async def models(self) -> ModelsResponse:
        """See `Mint.models`."""
        return await self._answer(requests.models())

    async def close(self) -> None:
        """Ends the connections of this event loop; `async with` does that too."""
        http = self._https.pop(asyncio.get_running_loop(), None)
        if http is not None:
            await http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _answer(self, call: Call[T]) -> T:
        loop = asyncio.get_running_loop()
        http = self._https.get(loop)
        if http is None:
            http = self._https[loop] = httpx.AsyncClient(**self._options)
        patience = RetryPolicy(self._patience)
        while True:
            outcome: Attempt
            try:
                outcome = await http.send(call.request(http))
            except httpx.RequestError as error:
                outcome = error
            pause = patience.pause(outcome)
            if pause is None:
                return call.result(outcome)
            await asyncio.sleep(pause)


def _connection(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """What both of httpx's clients are made with.

    Raises InputError for an address, a key, a time limit or a variable of the environment that cannot be used; neither
    the key nor a password in the address is part of the sentence.
    """
    try:
        address = httpx.URL(url)
        found = address.scheme in ("http", "https") and address.host and (address.port or 0) < 2**16
    except (httpx.InvalidURL, ValueError, TypeError):  # idna's errors are ValueErrors
        found = False
    if not found:
        shown = "the address" if "@" in str(url) else f"{str(url)[:200]!r}"
        raise InputError(f"{shown} is not the address of a service; write it as http://host:3000")
    if key is not None and not (key.isascii() and key.isprintable() and key and key == key.strip()):
        raise InputError(
            "the key is empty or has a line end, a blank at an end or a letter that no header may have; copy it again"
        )
    if key is not None and address.userinfo:
        raise InputError("the address holds a user name, and a key is given too; a request can carry only one of them")
    if not (math.isfinite(timeout) and timeout > 0):
        raise InputError(f"timeout is a number of seconds above 0; {timeout} is not")
    return {
        "base_url": address.copy_with(userinfo=b""),
        "auth": (address.username, address.password) if address.userinfo else None,
        "headers": {} if key is None else {"Authorization": f"Bearer {key}"},
        "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT_S)),
        "limits": httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=KEEP_ALIVE_S),
    } | connection_options(address)
