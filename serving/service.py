"""The service as BentoML knows it: `bentoml serve serving.service:Mint`. `mint serve` answers the same way without it.

BentoML reads this file twice, in the process that opens the port and watches the worker and in the worker itself, and
both stand between a start and the first answer: what only the worker needs is imported there.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
os.environ.setdefault("FORWARDED_ALLOW_IPS", "")  # uvicorn leaves proxies' headers to MINT_TRUSTED_PROXIES

import bentoml
from _bentoml_sdk import Service
from bentoml._internal.utils.analytics.usage_stats import do_not_track
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS

from serving.errors import MintError
from serving.http.lifespan import drain
from serving.inference.generator import OnnxGenerator
from serving.inference.ort_session import cuda_devices
from serving.json_logging import configure_logging
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.app import App

do_not_track.cache_clear()  # `bentoml serve` has asked before it read this file, and remembers the answer

T = TypeVar("T")


def or_exit(work: Callable[[], T]) -> T:
    """Runs `work`; an error that is meant for people ends the process with its sentence."""
    try:
        return work()
    except MintError as error:
        sys.exit(f"error: {error}")


class MintService(Service[Any]):
    """A BentoML service whose worker serves our app and nothing else.

    BentoML's own app costs a multiple of a route's time at each request and a seventh of the start, labels its figures
    with whatever path is asked for, knows no body limit, and answers errors in shapes of its own.
    """

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The ASGI app that a worker serves."""
        from serving.app import App
        from serving.http.state import AppState
        from serving.server.protocol import protocol_for

        HTTP_PROTOCOLS["auto"] = protocol_for(settings)  # type: ignore[assignment]  # what BentoML has uvicorn take
        return DrainedApp(App(AppState(settings)))


class DrainedApp:
    """The app, drained when SIGTERM comes, before the server that BentoML starts answers the signal by itself."""

    def __init__(self, app: "App") -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan" and settings.drain:
            self._drain_on_sigterm()
        await self.app(scope, receive, send)

    def _drain_on_sigterm(self) -> None:
        """Goes before the server's own handler, and hands on to it after the drain; a second SIGTERM does at once."""
        stop = signal.getsignal(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def handle(number: int, frame: FrameType | None) -> None:
            signal.signal(number, stop)
            drain(self.app, loop, lambda: signal.raise_signal(number), settings.drain)

        signal.signal(signal.SIGTERM, handle)


configure_logging()
settings = or_exit(Settings.from_environment)


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
        or_exit(lambda: OnnxGenerator.load(settings.model, "cpu" if cuda_devices() else settings.provider))
