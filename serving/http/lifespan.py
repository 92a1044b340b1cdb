"""App lifespan: models are loaded and followed while the app runs; draining before it stops."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from serving.http.state import AppState

logger = logging.getLogger(__name__)


class Drained(Protocol):
    """An app that can send its clients elsewhere."""

    state: AppState

    def drain(self) -> None:
        """From now on every answer asks its client to leave."""


@asynccontextmanager
async def lifespan(app: Drained) -> AsyncIterator[None]:
    """Loads the models beside the event loop, so that the probes can answer meanwhile; at the end lets a run end."""
    settings = app.state.settings
    logger.info("settings: %s", " ".join(settings.lines()))
    models = asyncio.create_task(_keep_models(app.state))
    try:
        yield
    finally:
        models.cancel()
        await asyncio.to_thread(app.state.batcher.close)


async def _keep_models(state: AppState) -> None:
    """Loads the models, then follows their files for ever."""
    await state.models.start()
    gc.freeze()  # what is there now stays: no collection has to look at all of it again, in the middle of a request
    await state.models.watch()


def drain(app: Drained, loop: asyncio.AbstractEventLoop, stop: Callable[[], object], seconds: float) -> None:
    """Sends everybody elsewhere for so many seconds and then calls `stop`; to be called by a signal's handler.

    The server that stops refuses connections at once, and closes those that are idle at that moment, perhaps with a
    request on its way. With /readyz at 503 a load balancer stops sending; with `Connection: close` on every answer
    no connection is idle but for want of requests.
    """
    logger.info("draining for %g s", seconds)
    app.drain()
    loop.call_soon_threadsafe(loop.call_later, seconds, stop)
