"""Calls of client methods, blocking and async, for tests that hold for both clients."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from serving.client import AsyncMintClient, MintClient

KEY = "a key for tests"

CallClient = Callable[..., Any]


def call_blocking(
    url: str,
    method: str,
    *arguments: Any,
    key: str | None = KEY,
    patience: float = 60,
    timeout: float = 60,
    **options: Any,
) -> Any:
    """Call a method of a new MintClient."""
    with MintClient(url, key, patience, timeout) as mint:
        return getattr(mint, method)(*arguments, **options)


def call_async(
    url: str,
    method: str,
    *arguments: Any,
    key: str | None = KEY,
    patience: float = 60,
    timeout: float = 60,
    **options: Any,
) -> Any:
    """Call a method of a new AsyncMintClient."""

    async def call() -> Any:
        async with AsyncMintClient(url, key, patience, timeout) as mint:
            return await getattr(mint, method)(*arguments, **options)

    return asyncio.run(call())


BOTH_CLIENTS = pytest.mark.parametrize("call_client", [call_blocking, call_async], ids=["blocking", "async"])
