"""HTTP/1.1 client of the benchmarks: request templates, one-shot requests and keep-alive connections.

Requests are sent as raw bytes, prepared ahead, so that the client costs little beside the service on the same cores.
"""

import asyncio
import http.client
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

HOST = "127.0.0.1"
SEEDS = "SEEDS"  # placeholder in a template for the seeds of a request
TIMEOUT_S = 60
CONNECTION_ERRORS = (ConnectionError, asyncio.IncompleteReadError)  # no complete response


@dataclass(frozen=True)
class Request:
    """Request whose path and body may contain the placeholder SEEDS; `load.lua` fills it in as `to_bytes` does."""

    method: str
    path: str
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def head(self) -> str:
        """Request line and headers, without Content-Length and the empty line."""
        fields = (("Host", HOST), *self.headers)
        return f"{self.method} {self.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields)

    def to_bytes(self, seeds: Iterable[int] = ()) -> bytes:
        """The complete request as sent over the wire."""
        numbers = ",".join(map(str, seeds))
        body = self.body.replace(SEEDS, numbers)
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        return f"{self.head.replace(SEEDS, numbers)}{length}\r\n{body}".encode()


@dataclass(frozen=True)
class Response:
    """Response; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes_connection(self) -> bool:
        """True with `Connection: close`: the server sends no other response on this connection."""
        return self.headers.get("connection", "").lower() == "close"


JSON = (("Content-Type", "application/json"),)
READY = Request("GET", "/readyz")
METRICS = Request("GET", "/metrics")
MODELS = Request("GET", "/models")
ONE_PNG = Request("POST", "/generate", '{"seeds": [SEEDS], "format": "png"}', JSON)
NPY = Request("POST", "/generate", '{"seeds": [SEEDS], "format": "npy"}', JSON)


def send(port: int, request: Request, seeds: Iterable[int] = ()) -> Response:
    """Send a request on a connection of its own; raises OSError or HTTPException without a complete response."""
    numbers = ",".join(map(str, seeds))
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
    try:
        connection.request(
            request.method,
            request.path.replace(SEEDS, numbers),
            request.body.replace(SEEDS, numbers) or None,
            dict(request.headers),
        )
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, headers, response.read())
    finally:
        connection.close()


@dataclass
class Connection:
    """Keep-alive connection with one request at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect; raises ConnectionRefusedError when no process listens on the port."""
        return cls(*await asyncio.open_connection(HOST, port))

    @property
    def closed_by_peer(self) -> bool:
        """True once this side has noticed that the other closed the connection."""
        return self.reader.at_eof() or self.writer.is_closing()

    async def send(self, request: bytes) -> Response:
        """Send a raw request and read its response; raises one of CONNECTION_ERRORS without a complete one."""
        self.writer.write(request)
        await self.writer.drain()
        head = await self.reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return Response(int(status_line.split(" ", 2)[1]), headers, body)

    def close(self) -> None:
        """Close the connection; with an unread response, the other side sees a reset."""
        self.writer.close()


def metric_total(exposition: bytes, name: str) -> float:
    """Sum of a metric over all its labels, from the text of /metrics; 0 before it is first counted."""
    lines = [line for line in exposition.decode().splitlines() if line.partition(" ")[0].partition("{")[0] == name]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
