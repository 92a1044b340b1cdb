"""App lifespan: load the models, watch their files, drain before the server stops."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from serving.http.state import AppState

logger = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(state: AppState) -> AsyncIterator[None]:
    """Load the models in the background, so that probes are answered meanwhile; at exit let the last batch finish."""
    logger.info("settings: %s", " ".join(state.settings.lines()))
    models = asyncio.create_task(_load_and_watch(state))
    try:
        yield
    finally:
        models.cancel()
        await asyncio.to_thread(state.batcher.close)


async def _load_and_watch(state: AppState) -> None:
    """Load the models, then watch their files until cancelled."""
    await state.models.start()
    gc.freeze()  # what exists now stays, so no collection has to traverse it during a request
    await state.models.watch()


def drain(state: AppState, stop: Callable[[], object], seconds: float) -> None:
    """Delay `stop` so that load balancers can deregister the instance; called by the event loop after a signal.

    A server that stops refuses connections at once, and closes those that are idle at that moment, perhaps with a
    request on its way. With /readyz at 503 a load balancer stops sending; with `Connection: close` on every response
    a connection is idle only while its client has no requests.
    """
    logger.info("draining for %g s", seconds)
    state.draining = True
    asyncio.get_running_loop().call_later(seconds, stop)
