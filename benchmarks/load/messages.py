"""Requests as templates, answers, and the plainest way to ask once."""

import http.client
from collections.abc import Iterable
from dataclasses import dataclass

HOST = "127.0.0.1"
SEEDS = "SEEDS"  # stands in a template where a request's seeds go
TIMEOUT_S = 60


@dataclass(frozen=True)
class Request:
    """A request whose path and body may hold the word SEEDS; `load.lua` fills it in as `to_bytes` does."""

    method: str
    path: str
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def head(self) -> str:
        """The first lines, each with its end; Content-Length and the empty line are to follow."""
        fields = (("Host", HOST), *self.headers)
        return f"{self.method} {self.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields)

    def to_bytes(self, seeds: Iterable[int] = ()) -> bytes:
        """The whole request as it goes over the wire."""
        numbers = ",".join(map(str, seeds))
        body = self.body.replace(SEEDS, numbers)
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        return f"{self.head.replace(SEEDS, numbers)}{length}\r\n{body}".encode()


@dataclass(frozen=True)
class Answer:
    """An answer; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


JSON = (("Content-Type", "application/json"),)
READY = Request("GET", "/readyz")
METRICS = Request("GET", "/metrics")
MODELS = Request("GET", "/models")
ONE_PNG = Request("POST", "/generate", '{"seeds": [SEEDS], "format": "png"}', JSON)
PIXELS = Request("POST", "/generate", '{"seeds": [SEEDS], "format": "npy"}', JSON)


def ask(port: int, request: Request, seeds: Iterable[int] = ()) -> Answer:
    """Asks once on a connection of its own; raises OSError or HTTPException when no whole answer comes."""
    numbers = ",".join(map(str, seeds))
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
    try:
        connection.request(
            request.method,
            request.path.replace(SEEDS, numbers),
            request.body.replace(SEEDS, numbers) or None,
            dict(request.headers),
        )
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def metric(page: bytes, name: str) -> float:
    """The sum of a figure over all its labels, from a page of /metrics; 0 where it has not been counted yet."""
    lines = [line for line in page.decode().splitlines() if line.partition(" ")[0].partition("{")[0] == name]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
