"""`mint serve`: the service as one process, from its first second to its last.

uvicorn runs the app on uvloop. BentoML's own launcher would start a supervisor beside it, which opens a control port
without a password, keeps figures in files of a shared folder and needs a writable home and /tmp; `bentoml serve
serving.service:Mint` still does so. This process writes no file at all. Where it dies it has ended: whoever
started it (Docker, Kubernetes, systemd) starts it again.
"""

import asyncio
import logging
import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# With this variable prometheus_client, from its import on, keeps figures in files for several processes. Here is one.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

import uvicorn
import uvloop

from serving.app import App
from serving.http.lifespan import drain
from serving.http.state import AppState
from serving.json_logging import configure_logging
from serving.server.listener import Address, bind, parse_port
from serving.server.protocol import protocol_for
from serving.settings import Settings

logger = logging.getLogger(__name__)

CUT = 1  # exit status where a second signal has cut requests off


def serve(host: str | None = None, port: str | None = None) -> None:
    """Serves until a signal ends it; host and port go before those of MINT_LISTEN.

    Raises MintError where the settings, the address or the model cannot be used.
    """
    _open_standard_streams()
    settings = Settings.from_environment()
    configured = Address.parse(settings.listen)
    address = Address(host or configured.host, configured.port if port is None else parse_port(port))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a file a connection
    with bind(address) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listener))


def _open_standard_streams() -> None:
    """Opens those that whoever started this has closed: a connection would get their number, and with it the log."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number


async def _serve(settings: Settings, listener: socket.socket) -> None:
    """Loads the default model, then answers until the server is told to stop."""
    configure_logging()
    app = App(AppState(settings))
    await app.state.models.load_default()
    host, port = listener.getsockname()[:2]
    logger.info("listening on http://%s", Address(host, port))
    await MintServer(app).serve([listener])


class MintServer(uvicorn.Server):
    """uvicorn's server, with our way of stopping and an exit status of 0 after it."""

    def __init__(self, app: App) -> None:
        settings = app.state.settings
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol_for(settings),  # type: ignore[arg-type]  # any maker of protocols will do
                lifespan="on",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=settings.keep_alive,
                timeout_graceful_shutdown=settings.shutdown_timeout,
            )
        )
        self.app = app
        self._stopping = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the service; it does not die of them afterwards, as uvicorn's own does."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts the app, then answers."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets requests in progress end, SIGTERM after a time for draining; a second one cuts them."""
        if self._stopping:
            logger.warning("a second signal: requests in progress are cut off")
            logging.shutdown()
            os._exit(CUT)  # nothing is kept between requests, so there is nothing to put in order
        self._stopping = True
        drain(self.app, self._loop, self._stop, seconds=self.app.state.settings.drain if sig == signal.SIGTERM else 0)

    def _stop(self) -> None:
        self.should_exit = True
