"""The BentoML service: lifecycle and the way in. The routes are in serving.app.

bentoml serve serving.service:Mint
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")

import bentoml
from _bentoml_sdk import Service
from bentoml._internal.utils.analytics.usage_stats import do_not_track
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.app import App
from serving.backend import Backend
from serving.errors import MintError
from serving.generator import Generator
from serving.logs import log_as_json
from serving.session import cuda_devices
from serving.settings import Settings

logger = logging.getLogger(__name__)

do_not_track.cache_clear()  # `bentoml serve` has asked before it read this file, and remembers the answer

T = TypeVar("T")


def or_exit(work: Callable[[], T]) -> T:
    """Runs `work`; an error that is meant for people ends the process with its sentence."""
    try:
        return work()
    except MintError as error:
        sys.exit(f"error: {error}")


class FrontDoor:
    """BentoML starts and stops the process; requests go straight to the app.

    BentoML's own layers cost a multiple of a route's time, label their figures with whatever path is asked for, know
    no body limit, and answer errors in shapes of their own; all that they do, the app does at its edge.
    """

    def __init__(self, bento_app: ASGIApp, app: App) -> None:
        self.bento_app = bento_app
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await (self.bento_app if scope["type"] == "lifespan" else self.app)(scope, receive, send)


class MintService(Service[Any]):
    """A BentoML service with a front door."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The ASGI app that a worker serves."""
        return FrontDoor(super().to_asgi(is_main), app)


log_as_json()
settings = or_exit(Settings.from_environment)
app = App(Backend(settings))


@bentoml.service(  # type: ignore[operator]  # mypy takes it for the submodule of that name
    service_class=MintService,
    workers=1,  # one model and one queue; a second process would halve the batches
)
class Mint:
    """Images from seeds, over HTTP."""

    @bentoml.on_deployment
    @staticmethod
    def refuse_a_bad_model() -> None:
        """Ends `bentoml serve` before any worker starts: a worker that cannot load is started over and over."""
        # On the CPU where there is a GPU: this process lives as long as the worker and must not hold GPU memory.
        or_exit(lambda: Generator.load(settings.model, "cpu" if cuda_devices() else settings.provider))

    @bentoml.on_startup
    async def start(self) -> None:
        """Loads the models beside the event loop, so that the probes can answer meanwhile."""
        logger.info("settings: %s", " ".join(settings.lines()))
        self.models = asyncio.create_task(keep_models(app.backend))
        drain_on_sigterm(app, settings.drain)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Lets the run in progress end."""
        self.models.cancel()
        await asyncio.to_thread(app.backend.batcher.close)


async def keep_models(backend: Backend) -> None:
    """Loads the models, then follows their files for ever."""
    try:
        await backend.models.load()
        gc.freeze()  # what is there now stays: no collection has to look at all of it again, in the middle of a request
        await backend.models.watch()
    except Exception:
        logger.exception("model files are no longer looked at")


def drain_on_sigterm(app: App, seconds: float) -> None:
    """Puts a time between SIGTERM and the server's own answer to it, in which everybody is sent elsewhere.

    The server stops accepting connections at once, and closes those that are idle at that moment, perhaps with a
    request on its way. With /readyz at 503 a load balancer stops sending; with `Connection: close` on every answer
    no connection is idle but for want of requests. A second SIGTERM ends the wait.
    """
    stop = signal.getsignal(signal.SIGTERM)
    loop = asyncio.get_running_loop()

    def drain(number: int, frame: FrameType | None) -> None:
        signal.signal(number, stop)
        logger.info("draining for %g s", seconds)
        app.drain()
        loop.call_soon_threadsafe(loop.call_later, seconds, signal.raise_signal, number)

    if seconds:
        signal.signal(signal.SIGTERM, drain)
