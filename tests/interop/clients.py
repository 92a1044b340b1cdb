"""HTTP clients behind one signature: requests in, responses out, in the same order."""

import asyncio
import base64
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

FOLDER = Path(__file__).parent
TIMEOUT_S = 300  # for all requests of a test, including the start of a JVM


@dataclass(frozen=True)
class Request:
    """HTTP request."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """HTTP response; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


Client = Callable[[str, Sequence[Request]], list[Response]]  # arguments: base URL, requests


def urllib_client(address: str, requests: Sequence[Request]) -> list[Response]:
    """Python's urllib: HTTP/1.1, one connection a request."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    responses = []
    for each in requests:
        url = address + each.path
        request = urllib.request.Request(url, each.body or None, dict(each.headers), method=each.method)
        try:
            response = opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            responses.append(Response(response.status, _lower(response.headers.items()), response.read()))
    return responses


def aiohttp_client(address: str, requests: Sequence[Request]) -> list[Response]:
    """aiohttp: one keep-alive connection, header lines of at most 8,190 bytes."""

    async def send() -> list[Response]:
        responses = []
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as session:
            for each in requests:
                request = session.request(
                    each.method, address + each.path, headers=each.headers, data=each.body or None
                )
                async with request as response:
                    responses.append(Response(response.status, _lower(response.headers.items()), await response.read()))
        return responses

    return asyncio.run(send())


def node_client(address: str, requests: Sequence[Request]) -> list[Response]:
    """Node's fetch."""
    return _run(["node", str(FOLDER / "send_requests.mjs")], address, requests)


def java_client(address: str, requests: Sequence[Request]) -> list[Response]:
    """Java's default HttpClient, which requests an upgrade to HTTP/2."""
    return _run(
        ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", str(FOLDER / "SendRequests.java")], address, requests
    )


def _run(command: list[str], address: str, requests: Sequence[Request]) -> list[Response]:
    lines = [
        "\t".join(
            (
                each.method,
                address + each.path,
                "|".join(f"{name}: {value}" for name, value in each.headers.items()),
                base64.b64encode(each.body).decode(),
            )
        )
        for each in requests
    ]
    completed = subprocess.run(
        command, input="\n".join(lines), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert completed.returncode == 0, completed.stderr
    responses = []
    for line in completed.stdout.splitlines():
        status, headers, body = line.split("\t")
        pairs = [header.split(": ", 1) for header in base64.b64decode(headers).decode().splitlines()]
        responses.append(Response(int(status), _lower((name, value) for name, value in pairs), base64.b64decode(body)))
    return responses


def _lower(headers: object) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}  # type: ignore[attr-defined]
