"""Scripted HTTP server: stands for services that are busy, gone, or not Mint."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NO_MODELS = b'{"models": []}'
ERROR = b'{"error": "try again", "detail": []}'

ScriptedResponse = tuple[int, dict[str, str], bytes] | None


class ScriptedServer(ThreadingHTTPServer):
    """HTTP server that sends scripted responses in order, and repeats the last one."""

    daemon_threads = True

    def __init__(self, *script: ScriptedResponse, port: int = 0) -> None:
        """script: status, headers and body; None closes the connection without a response."""
        self.script = list(script)
        self.paths: list[str] = []  # of the requests so far
        self.authorizations: list[str | None] = []
        super().__init__(("127.0.0.1", port), ScriptedHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class ScriptedHandler(BaseHTTPRequestHandler):
    """Handler that sends the next response of the script."""

    server: ScriptedServer

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.authorizations.append(self.headers.get("Authorization"))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        response = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        if response is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, body = response
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def scripted_server(*script: ScriptedResponse, port: int = 0) -> Iterator[ScriptedServer]:
    """Run a scripted server in a thread."""
    with ScriptedServer(*script, port=port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
