"""The routes in process: the real app in front of the tiny model, without BentoML."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.app import App
from serving.http.state import AppState
from serving.inference.generator import OnnxGenerator
from serving.inference.model_registry import ModelRegistry
from serving.settings import Settings

MAX_IMAGES = 16

Call = Callable[..., httpx.Response]


def caller(app: App) -> Call:
    """A function that sends one request to the app, as httpx would over a network."""

    async def send(method: str, path: str, **request: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://mint", trust_env=False) as client:
            return await client.request(method, path, **request)

    return lambda method, path, **request: asyncio.run(send(method, path, **request))


def no_trial(content: bytes, path: Path) -> None:
    """In place of the trial of a model file in a process of its own, which takes a second; test_trial has those."""


def loaded(model: Path, **settings: Any) -> AppState:
    """A backend that serves a model file, and every other in its folder."""
    backend = AppState(Settings(model=model, provider="cpu", **{"threads": 1} | settings))
    backend.models = ModelRegistry(model, "cpu", backend.settings.threads, trial=no_trial)
    asyncio.run(backend.models.load())
    return backend


def served(model: Path, **settings: Any) -> Iterator[Call]:
    """The app in front of a model file, ready."""
    backend = loaded(model, **{"max_images": MAX_IMAGES, "max_queue": 2 * MAX_IMAGES} | settings)
    yield caller(App(backend))
    backend.batcher.close()


def assert_refused(response: httpx.Response, status: int, sentence: str) -> None:
    """The one shape of errors, with a sentence in it."""
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
    yield from served(model_path)


@pytest.fixture(scope="session")
def call_without_classes(generator_without_classes: OnnxGenerator) -> Iterator[Call]:
    """The same on a grey model without classes."""
    yield from served(generator_without_classes.path)
