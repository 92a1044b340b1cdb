"""The two clients: one blocking, one for async code."""

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
from serving.client.requests import ApiRequest, Attempt, Generated, ImageFormat, Images, InterpolateOptions
from serving.client.retry import RetryPolicy
from serving.errors import InputError
from serving.http.schemas import ModelResponse, ModelsResponse

CONNECT_TIMEOUT_S = 10
TIMEOUT_S = 120.0  # longer than the service's default timeout, after which it responds 504
KEEP_ALIVE_S = 3  # shorter than the server's, so that no request is sent on a connection that is being closed

T = TypeVar("T")


class MintClient:
    """Blocking client of a Mint service.

    key: API key, if the service requires one. patience: seconds during which a request is retried that a busy service
    refused or that could not be sent. timeout: seconds to wait for a response, or for more of it. Methods raise
    NoResponseError and ServerError, and InputError for invalid arguments. Thread-safe.
    """

    def __init__(self, url: str, key: str | None = None, patience: float = 60, timeout: float = TIMEOUT_S) -> None:
        self._http = httpx.Client(**_client_options(url, key, timeout))
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
        """Generate images from exactly one of: seeds, `count` random seeds, latents [N, latent_dim].

        labels: a class for all images, or one for each; the default is each seed's own class. truncation: from 0, the
        average image, to 1. model: name or id; the default is the service's default model.
        """
        return self._send(requests.generate(seeds, count, latents, labels, truncation, model))

    def image(
        self,
        seed: int,
        *,
        label: Label | None = None,
        truncation: float = 1.0,
        size: int | None = None,
        model: str | None = None,
        format: ImageFormat = "png",
    ) -> bytes:
        """Fetch one image as an encoded file. size: longer side in pixels; the default is the model's own."""
        return self._send(requests.image(seed, label, truncation, size, model, format))

    @overload
    def interpolate(self, *, format: Literal["npy"], **options: Unpack[InterpolateOptions]) -> Images: ...
    @overload
    def interpolate(
        self, *, format: Literal["gif", "webp", "png"] = "gif", **options: Unpack[InterpolateOptions]
    ) -> bytes: ...
    def interpolate(
        self, *, format: Literal["gif", "webp", "png", "npy"] = "gif", **options: Unpack[InterpolateOptions]
    ) -> Images | bytes:
        """Interpolate between images: an animation (gif, webp), a strip (png), or npy, uint8 [N, H, W, C]."""
        return self._send(requests.interpolate(format, options))

    def model(self, name: str | None = None) -> ModelResponse:
        """Fetch the description of a model, by name or id; the default is the service's default model."""
        return self._send(requests.model(name))

    def models(self) -> ModelsResponse:
        """List the models of the service."""
        return self._send(requests.models())

    def close(self) -> None:
        """Close the connections; `with` does so on exit."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, request: ApiRequest[T]) -> T:
        retries = RetryPolicy(self._patience)
        while True:
            attempt: Attempt
            try:
                attempt = self._http.send(request.build(self._http))
            except httpx.RequestError as error:
                attempt = error
            delay = retries.delay(attempt)
            if delay is None:
                return request.parse(attempt)
            time.sleep(delay)


class AsyncMintClient:
    """Async client with the methods of `MintClient`; may be used from several event loops in turn."""

    def __init__(self, url: str, key: str | None = None, patience: float = 60, timeout: float = TIMEOUT_S) -> None:
        self._options = _client_options(url, key, timeout)
        # Connections belong to the event loop that opened them, and each asyncio.run creates a new one.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()
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
        """See `MintClient.generate`."""
        return await self._send(requests.generate(seeds, count, latents, labels, truncation, model))

    async def image(
        self,
        seed: int,
        *,
        label: Label | None = None,
        truncation: float = 1.0,
        size: int | None = None,
        model: str | None = None,
        format: ImageFormat = "png",
    ) -> bytes:
        """See `MintClient.image`."""
        return await self._send(requests.image(seed, label, truncation, size, model, format))

    @overload
    async def interpolate(self, *, format: Literal["npy"], **options: Unpack[InterpolateOptions]) -> Images: ...
    @overload
    async def interpolate(
        self, *, format: Literal["gif", "webp", "png"] = "gif", **options: Unpack[InterpolateOptions]
    ) -> bytes: ...
    async def interpolate(
        self, *, format: Literal["gif", "webp", "png", "npy"] = "gif", **options: Unpack[InterpolateOptions]
    ) -> Images | bytes:
        """See `MintClient.interpolate`."""
        return await self._send(requests.interpolate(format, options))

    async def model(self, name: str | None = None) -> ModelResponse:
        """See `MintClient.model`."""
        return await self._send(requests.model(name))

    async def models(self) -> ModelsResponse:
        """See `MintClient.models`."""
        return await self._send(requests.models())

    async def close(self) -> None:
        """Close the connections of the current event loop; `async with` does so on exit."""
        http = self._clients.pop(asyncio.get_running_loop(), None)
        if http is not None:
            await http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, request: ApiRequest[T]) -> T:
        loop = asyncio.get_running_loop()
        http = self._clients.get(loop)
        if http is None:
            http = self._clients[loop] = httpx.AsyncClient(**self._options)
        retries = RetryPolicy(self._patience)
        while True:
            attempt: Attempt
            try:
                attempt = await http.send(request.build(http))
            except httpx.RequestError as error:
                attempt = error
            delay = retries.delay(attempt)
            if delay is None:
                return request.parse(attempt)
            await asyncio.sleep(delay)


def _client_options(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """Arguments of httpx's clients.

    Raises InputError for an invalid address, key, timeout or environment variable; the message contains neither the
    key nor a password in the address.
    """
    try:
        address = httpx.URL(url)
        valid = address.scheme in ("http", "https") and address.host and (address.port or 0) < 2**16
    except (httpx.InvalidURL, ValueError, TypeError):  # idna's errors are ValueErrors
        valid = False
    if not valid:
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
