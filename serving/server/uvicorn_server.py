"""Server of `mint serve`: one process that runs the app with uvicorn on uvloop.

BentoML's own launcher would start a supervisor beside it, which opens a control port without a password, keeps metrics
in files of a shared folder and needs a writable home and /tmp; `bentoml serve serving.service:Mint` still does so. This
process writes no file at all and does not restart itself: Docker, Kubernetes or systemd does.
"""

import asyncio
import logging
import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

# With this variable prometheus_client, once imported, shares metrics between processes through files; here is only one.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

import uvicorn
import uvloop

from serving.address import Address, parse_port
from serving.app import create_app
from serving.http.lifespan import drain
from serving.http.state import AppState
from serving.json_logging import configure_logging
from serving.server.listener import bind
from serving.server.protocol import protocol_for
from serving.settings import Settings

logger = logging.getLogger(__name__)

EXIT_ABORTED = 1  # exit status after a second signal


def serve(host: str | None = None, port: str | None = None) -> None:
    """Serve until a signal arrives; host and port override those of MINT_LISTEN.

    Raises MintError if the settings, the address or the model cannot be used.
    """
    _open_standard_streams()
    settings = Settings.from_environment()
    configured = Address.parse(settings.listen)
    address = Address(host or configured.host, configured.port if port is None else parse_port(port))
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))  # each connection is a file
    with bind(address) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listener))


def _open_standard_streams() -> None:
    """Open standard streams that are closed: a connection could get descriptor 2 otherwise, and the log with it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number


async def _serve(settings: Settings, listener: socket.socket) -> None:
    """Load the default model, then serve until a signal arrives."""
    configure_logging()
    state = AppState(settings)
    await state.models.load_default()
    host, port = listener.getsockname()[:2]
    logger.info("listening on http://%s", Address(host, port))
    await MintServer(state).serve([listener])


class MintServer(uvicorn.Server):
    """uvicorn's server with a drain before shutdown, and exit status 0 after a signal."""

    def __init__(self, state: AppState) -> None:
        settings = state.settings
        super().__init__(
            uvicorn.Config(
                create_app(state),
                http=protocol_for(settings),  # type: ignore[arg-type]  # any factory of protocols works
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
        self.state = state
        self._stopping = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT; unlike uvicorn's own, it does not raise them again at exit.

        The event loop calls the handler, as soon as it is free. One of signal.signal would interrupt any line of this
        thread, and wait for ever for a lock that the line holds, such as the log's.
        """
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def _on_signal(self, number: signal.Signals) -> None:
        """Stop: after requests in progress have finished, on SIGTERM after draining, on a second signal at once."""
        if self._stopping:
            logger.warning("a second signal: requests in progress are cut off")
            logging.shutdown()
            os._exit(EXIT_ABORTED)  # there is no state to save
        self._stopping = True
        drain_s = self.state.settings.drain if number == signal.SIGTERM else 0
        drain(self.state, self._stop, drain_s)

    def _stop(self) -> None:
        self.should_exit = True
