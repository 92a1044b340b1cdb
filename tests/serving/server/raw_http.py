"""Raw HTTP for tests: uvicorn with our protocol on a real socket in front of a small app, and a client of bytes."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO

import uvicorn

from serving.errors import MintError
from serving.http.exception_handlers import error_response
from serving.server.limits import ConnectionLimits, ConnectionUsage
from serving.server.protocol import RequestProtocol

TIME_LIMIT_S = 90  # for what should happen at once
LARGE = 32 << 20  # bytes, more than the system buffers for a client that does not read
POST_START = b"POST /echo HTTP/1.1\r\nHost: mint\r\n"
NEXT_REQUEST = b"GET /next HTTP/1.1\r\nHost: mint\r\n\r\n"


class EchoApp:
    """App that responds with its request; it waits at /held for `go_on`, and reads no body at /refused."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.started = threading.Semaphore(0)
        self.disconnected = threading.Event()  # the client of /held has disconnected
        self.sent = threading.Event()  # a response of /large has been read
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        self.started.release()
        try:
            await self.respond(scope, receive, send)
        except MintError as error:
            await error_response(error)(scope, receive, send)

    async def respond(self, scope: Any, receive: Any, send: Any) -> None:
        path, body, status, more = scope["path"], b"", 200, True
        while more and path != "/refused":
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if path == "/held":
            await self.hold(receive)
        if path == "/refused":
            status = 413
        headers = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
        echo = {"path": path, "query": scope["query_string"].decode(), "body": body.decode(), "headers": headers}
        content = bytes(LARGE) if path == "/large" else json.dumps(echo).encode()
        length = (b"content-length", str(len(content)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [length]})
        await send({"type": "http.response.body", "body": content})
        if path == "/large":
            self.sent.set()

    async def hold(self, receive: Any) -> None:
        disconnect = asyncio.ensure_future(receive())
        while not self.go_on.is_set() and not disconnect.done():
            await asyncio.sleep(0.005)
        if disconnect.done():
            self.disconnected.set()
        disconnect.cancel()


@contextmanager
def serve_protocol(**limits: Any) -> Iterator[tuple[EchoApp, int]]:
    """Serve an EchoApp with the protocol; yields the app and its port."""
    app = EchoApp()
    protocol = partial(RequestProtocol, limits=ConnectionLimits(**limits), usage=ConnectionUsage())
    config = uvicorn.Config(app, http=protocol, lifespan="off", ws="none", log_config=None)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield app, listener.getsockname()[1]
        finally:
            app.go_on.set()
            server.should_exit = server.force_exit = True
            thread.join()


class RawClient:
    """Connection on which raw bytes are sent."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.socket.settimeout(TIME_LIMIT_S)
        self.socket.connect(("127.0.0.1", port))
        self.reader: BinaryIO = self.socket.makefile("rb")

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> "RawClient":
        self.socket.sendall(data)
        return self

    def send_eof(self) -> "RawClient":
        """End the sending side."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def close(self) -> None:
        self.reader.close()
        self.socket.close()

    def read_response(self) -> tuple[int, dict[str, str], Any]:
        """Read status, headers and JSON of the next response."""
        status = int(self.reader.readline().split()[1])
        headers = {}
        while line := self.reader.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        body = self.reader.read(int(headers["content-length"]))
        return status, headers, json.loads(body) if body.startswith(b"{") else body

    def count_remaining(self) -> int:
        """Count the bytes that arrive until the connection ends or is reset."""
        size = 0
        with suppress(ConnectionError):
            while more := self.reader.read(1 << 16):
                size += len(more)
        return size

    def is_closed(self) -> bool:
        """Return whether the server ends the connection without sending more."""
        try:
            return self.reader.read(1) == b""
        except ConnectionError:
            return True


def exchange(port: int, data: bytes) -> tuple[int, dict[str, str], Any]:
    """Send data on a new connection and read the first response."""
    with RawClient(port) as client:
        return client.send(data).read_response()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails when it never holds."""
    deadline = time.monotonic() + TIME_LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def head(*lines: bytes, start: bytes = b"POST /echo HTTP/1.1") -> bytes:
    return b"\r\n".join((start, b"Host: mint", *lines, b"", b""))
