"""The BentoML service: lifecycle and the way in. The routes are in serving.routes.

bentoml serve serving.service:Mint
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")

import bentoml
from _bentoml_sdk import Service
from bentoml._internal.utils.analytics.usage_stats import do_not_track
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.batching import Batcher
from serving.errors import MintError
from serving.generator import Generator, cuda_devices
from serving.routes import GENERATE_TIMEOUT_S, Backend, create_app
from serving.settings import Settings

logger = logging.getLogger("bentoml.mint")  # below bentoml, so that its handlers print it

do_not_track.cache_clear()  # `bentoml serve` has asked before it read this file, and remembers the answer

T = TypeVar("T")

# What BentoML measures and times out. Everything else goes straight to the app: probes are not
# traffic, and BentoML labels its metrics with the path, so that each unknown one would add series.
MEASURED = frozenset({"/", "/generate", "/model", "/docs", "/openapi.json"})


def or_exit(work: Callable[[], T]) -> T:
    """Runs `work`; an error that is meant for people ends the process with its sentence."""
    try:
        return work()
    except MintError as error:
        sys.exit(f"error: {error}")


class FrontDoor:
    """Sends each request through BentoML's middleware, or past it."""

    def __init__(self, bento_app: ASGIApp, app: Starlette) -> None:
        self.bento_app = bento_app
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        measured = scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in MEASURED)
        await (self.bento_app if measured else self.app)(scope, receive, send)


class MintService(Service[Any]):
    """A BentoML service with a front door."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The ASGI app that a worker serves."""
        return FrontDoor(super().to_asgi(is_main), app)


settings = or_exit(lambda: Settings.from_environment(os.environ))
backend = Backend(settings)
app = create_app(backend)


@bentoml.service(  # type: ignore[operator]  # mypy takes it for the submodule of that name
    service_class=MintService,
    workers=1,  # one model and one queue; a second process would halve the batches
    traffic={"timeout": GENERATE_TIMEOUT_S + 15},  # after the route's own, which answers in Mint's shape
    tracing={"excluded_urls": ".*"},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(app, path="/")
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
        """Loads the model beside the event loop, so that the probes can answer meanwhile."""
        self.loading = asyncio.create_task(load(backend))

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Lets the run in progress end."""
        await self.loading
        if backend.batcher:
            backend.batcher.close()


async def load(backend: Backend) -> None:
    """Fills in the backend's batcher, or its failure."""
    try:
        generator = await asyncio.to_thread(Generator.load, backend.settings.model, backend.settings.provider)
    except Exception as error:
        expected = isinstance(error, MintError)
        backend.failure = str(error) if expected else "the model could not be loaded; the server's log says why"
        logger.error("not ready: %s", error, exc_info=not expected)
        return
    backend.batcher = Batcher(generator, backend.settings.max_waiting)
    logger.info(
        "serving %s (%s, %s) on %s as model %s",
        generator.path,
        generator.card.name,
        generator.card.shape,
        generator.provider,
        generator.model_id,
    )
