"""What happens between a worker's first second and its last: models are loaded and followed, SIGTERM is answered."""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Protocol

from serving.backend import Backend

logger = logging.getLogger(__name__)


class Drained(Protocol):
    """An app that can send its clients elsewhere."""

    backend: Backend

    def drain(self) -> None:
        """From now on every answer asks its client to leave."""


@asynccontextmanager
async def lifespan(app: Drained) -> AsyncIterator[None]:
    """Loads the models beside the event loop, so that the probes can answer meanwhile; at the end lets a run end."""
    settings = app.backend.settings
    logger.info("settings: %s", " ".join(settings.lines()))
    models = asyncio.create_task(_keep_models(app.backend))
    _drain_on_sigterm(app, settings.drain)
    try:
        yield
    finally:
        models.cancel()
        await asyncio.to_thread(app.backend.batcher.close)


async def _keep_models(backend: Backend) -> None:
    """Loads the models, then follows their files for ever."""
    try:
        await backend.models.load()
        gc.freeze()  # what is there now stays: no collection has to look at all of it again, in the middle of a request
        await backend.models.watch()
    except Exception:
        logger.exception("model files are no longer looked at")


def _drain_on_sigterm(app: Drained, seconds: float) -> None:
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
