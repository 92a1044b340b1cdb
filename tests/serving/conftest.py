"""The routes in process: the real app in front of the tiny model, without BentoML."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from serving.batching import Batcher
from serving.generator import Generator
from serving.routes import Backend, create_app
from serving.settings import Settings

MAX_IMAGES = 16

Call = Callable[..., httpx.Response]


def caller(app: Starlette) -> Call:
    """A function that sends one request to the app, as httpx would over a network."""

    async def send(method: str, path: str, **request: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://mint", trust_env=False) as client:
            return await client.request(method, path, **request)

    return lambda method, path, **request: asyncio.run(send(method, path, **request))


def served(generator: Generator) -> Iterator[Call]:
    """The app in front of a generator, ready."""
    batcher = Batcher(generator, max_waiting=2 * MAX_IMAGES)
    yield caller(create_app(Backend(Settings(max_images=MAX_IMAGES), batcher)))
    batcher.close()


def assert_refused(response: httpx.Response, status: int, sentence: str) -> None:
    """The one shape of errors, with a sentence in it."""
    assert response.status_code == status, response.text
    body = response.json()
    assert body.keys() == {"error", "detail"}
    assert sentence in body["error"]
    assert "\n" not in body["error"]
    assert "Traceback" not in response.text
    assert all(problem.keys() == {"loc", "msg"} for problem in body["detail"])


@pytest.fixture(scope="session")
def call(generator: Generator) -> Iterator[Call]:
    """`call("POST", "/generate", json={"seeds": [7]})` on a model of cats, dogs and eels."""
    yield from served(generator)


@pytest.fixture(scope="session")
def call_without_classes(generator_without_classes: Generator) -> Iterator[Call]:
    """The same on a grey model without classes."""
    yield from served(generator_without_classes)
