"""BentoML service of the same app that `mint serve` runs: `bentoml serve serving.service:Mint`.

BentoML imports this file twice, in the supervisor that opens the port and in the worker, one after the other. To start
sooner, imports that only the worker needs are deferred.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
os.environ.setdefault("FORWARDED_ALLOW_IPS", "")  # MINT_TRUSTED_PROXIES decides about proxies' headers, not uvicorn

import bentoml
from _bentoml_sdk import Service
from bentoml._internal.utils.analytics.usage_stats import do_not_track
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS

from serving.errors import MintError
from serving.http.lifespan import drain
from serving.http.state import AppState
from serving.inference.generator import OnnxGenerator
from serving.inference.ort_session import cuda_devices
from serving.json_logging import configure_logging
from serving.settings import Settings

do_not_track.cache_clear()  # `bentoml serve` has called it, and cached the result, before importing this file

T = TypeVar("T")


def or_exit(work: Callable[[], T]) -> T:
    """Run `work`; a MintError ends the process with its sentence."""
    try:
        return work()
    except MintError as error:
        sys.exit(f"error: {error}")


class MintService(Service[Any]):
    """BentoML service whose worker serves our app in place of BentoML's.

    BentoML's own app costs a multiple of a route's time at each request and a seventh of the start, labels its metrics
    with any path that is requested, has no body limit, and returns errors in shapes of its own.
    """

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Build the ASGI app that a worker serves."""
        from serving.server.protocol import protocol_for

        HTTP_PROTOCOLS["auto"] = protocol_for(settings)  # type: ignore[assignment]  # that BentoML has uvicorn use
        return DrainingApp(AppState(settings))


class DrainingApp:
    """The app, with a drain between SIGTERM and the handler of the server that BentoML starts."""

    def __init__(self, state: AppState) -> None:
        from serving.app import create_app

        self.state = state
        self.app = create_app(state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI connection."""
        if scope["type"] == "lifespan" and settings.drain:
            self._drain_on_sigterm()
        await self.app(scope, receive, send)

    def _drain_on_sigterm(self) -> None:
        """Call the server's handler after the drain, or at once on a second SIGTERM.

        The event loop calls this one, for the reason in uvicorn_server.py.
        """
        server_handler = signal.getsignal(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def start_drain() -> None:
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, server_handler)
            drain(self.state, lambda: signal.raise_signal(signal.SIGTERM), settings.drain)

        loop.add_signal_handler(signal.SIGTERM, start_drain)


configure_logging()
settings = or_exit(Settings.from_environment)


@bentoml.service(  # type: ignore[operator]  # mypy finds the submodule of that name
    service_class=MintService,
    workers=1,  # one model and one queue; a second process would halve the batches
)
class Mint:
    """Images from seeds, over HTTP."""

    @bentoml.on_deployment
    @staticmethod
    def refuse_a_bad_model() -> None:
        """End `bentoml serve` before any worker starts: a worker that cannot load is restarted for ever."""
        # On the CPU where there is a GPU: this process outlives the check and must not hold GPU memory.
        or_exit(lambda: OnnxGenerator.load(settings.model, "cpu" if cuda_devices() else settings.provider))
