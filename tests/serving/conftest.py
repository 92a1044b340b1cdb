"""In-process app: the real ASGI app with the tiny model, called through httpx."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from serving.app import create_app
from serving.http.state import AppState
from serving.inference.generator import OnnxGenerator
from serving.inference.model_registry import ModelRegistry
from serving.settings import Settings

MAX_IMAGES = 16

Call = Callable[..., httpx.Response]


def call_app(app: ASGIApp) -> Call:
    """Return a function that sends one request to the app."""

    async def send(method: str, path: str, **request: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://mint", trust_env=False) as client:
            return await client.request(method, path, **request)

    return lambda method, path, **request: asyncio.run(send(method, path, **request))


def skip_isolated_load(content: bytes, path: Path) -> None:
    """Stand-in for the test load in a separate process, which takes a second; test_isolated_load covers it."""


def load_state(model: Path, **settings: Any) -> AppState:
    """Load an app's state with a model file, and every other in its folder."""
    state = AppState(Settings(model=model, provider="cpu", **{"threads": 1} | settings))
    state.models = ModelRegistry(model, "cpu", state.settings.threads, check=skip_isolated_load)
    asyncio.run(state.models.load())
    return state


def serve_model(model: Path, **settings: Any) -> Iterator[Call]:
    """Yield a function that calls the app with a model file, ready."""
    state = load_state(model, **{"max_images": MAX_IMAGES, "max_queue": 2 * MAX_IMAGES} | settings)
    yield call_app(create_app(state))
    state.batcher.close()


def assert_error(response: httpx.Response, status: int, sentence: str) -> None:
    """Assert status, shape and sentence of an error."""
    assert response.status_code == status, response.text[:500]
    body = response.json()
    assert body.keys() == {"error", "detail"}
    assert sentence in body["error"]
    assert "\n" not in body["error"]
    assert "Traceback" not in response.text
    assert all(problem.keys() == {"loc", "msg"} for problem in body["detail"])


@pytest.fixture(scope="session")
def call(model_path: Path) -> Iterator[Call]:
    """`call("POST", "/generate", json={"seeds": [7]})` on a model of cats, dogs and eels."""
    yield from serve_model(model_path)


@pytest.fixture(scope="session")
def call_without_classes(generator_without_classes: OnnxGenerator) -> Iterator[Call]:
    """The same on a grey model without classes."""
    yield from serve_model(generator_without_classes.path)
