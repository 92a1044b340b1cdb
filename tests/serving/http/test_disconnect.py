"""Disconnecting clients and timeouts: no work is left behind."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from serving.app import create_app
from serving.http.state import AppState
from tests.serving.busy_model import BusyModel
from tests.serving.conftest import load_state

pytestmark = pytest.mark.anyio

Receive = Callable[[], Awaitable[dict[str, Any]]]
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/generate",
    "raw_path": b"/generate",
    "root_path": "",
    "query_string": b"",
    "headers": [(b"content-type", b"application/json")],
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 3000),
}


async def start_state(model: Path, **settings: Any) -> AppState:
    """Load the model of an app's state on this event loop."""
    return await asyncio.to_thread(load_state, model, **settings)


async def run_request(app: ASGIApp, receive: Receive) -> list[dict[str, Any]]:
    """Messages that the app sends to a client whose side of the connection is `receive`."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app(dict(SCOPE), receive, send)  # type: ignore[arg-type]
    return sent


def complete_request(body: dict[str, Any], leave: asyncio.Event) -> Receive:
    """A client that sends all of its request and disconnects when `leave` is set."""
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await leave.wait()
        return {"type": "http.disconnect"}

    return receive


async def test_the_images_of_a_disconnected_client_are_not_generated(model_path: Path) -> None:
    state = await start_state(model_path)
    busy = BusyModel(state.batcher, state.models.get())
    await busy.wait_until_running()
    leave = asyncio.Event()
    asking = asyncio.create_task(run_request(create_app(state), complete_request({"count": 100}, leave)))
    while state.batcher.pending_images < 101:
        await asyncio.sleep(0.001)
    leave.set()
    await asyncio.wait_for(asking, 60)
    assert state.batcher.pending_images == 1  # what is running; nothing waits any more
    await busy.finish()
    assert state.batcher.pending_images == 0
    state.batcher.close()


async def test_a_client_that_disconnects_within_its_body_leaves_no_work(model_path: Path) -> None:
    state = await start_state(model_path)
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b'{"seeds"', "more_body": True}]

    async def receive() -> dict[str, Any]:
        return messages.pop()

    await asyncio.wait_for(run_request(create_app(state), receive), 60)
    assert state.batcher.pending_images == 0


async def test_an_endless_body_gets_504(model_path: Path) -> None:
    state = await start_state(model_path, timeout=0.2)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b" ", "more_body": True}

    sent = await asyncio.wait_for(run_request(create_app(state), receive), 60)
    assert sent[0]["status"] == 504
    assert b"the answer was not ready within 0.2 s" in sent[1]["body"]


async def test_images_that_take_too_long_get_504_and_are_dropped(model_path: Path) -> None:
    state = await start_state(model_path, timeout=0.2)
    busy = BusyModel(state.batcher, state.models.get())
    await busy.wait_until_running()
    sent = await asyncio.wait_for(run_request(create_app(state), complete_request({"count": 9}, asyncio.Event())), 60)
    assert sent[0]["status"] == 504
    assert state.batcher.pending_images == 1
    await busy.finish()
    state.batcher.close()
