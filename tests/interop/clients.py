"""HTTP clients under one function: requests in, answers out, in the same order."""

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
TIMEOUT_S = 300  # for all requests of a test; a slow machine starts Java slowly


@dataclass(frozen=True)
class Request:
    """What is sent."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """What came back; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


Client = Callable[[str, Sequence[Request]], list[Answer]]  # of a service's address


def urllib_client(address: str, requests: Sequence[Request]) -> list[Answer]:
    """Python's urllib: HTTP/1.1 with a connection for each request."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answers = []
    for each in requests:
        url = address + each.path
        asked = urllib.request.Request(url, each.body or None, dict(each.headers), method=each.method)
        try:
            answer = opener.open(asked, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            answers.append(Answer(answer.status, _lower(answer.headers.items()), answer.read()))
    return answers


def aiohttp_client(address: str, requests: Sequence[Request]) -> list[Answer]:
    """aiohttp: one connection that is kept alive, and header lines of at most 8,190 bytes."""

    async def ask() -> list[Answer]:
        answers = []
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as session:
            for each in requests:
                asked = session.request(each.method, address + each.path, headers=each.headers, data=each.body or None)
                async with asked as answer:
                    answers.append(Answer(answer.status, _lower(answer.headers.items()), await answer.read()))
        return answers

    return asyncio.run(ask())


def node_client(address: str, requests: Sequence[Request]) -> list[Answer]:
    """Node's fetch."""
    return _run(["node", str(FOLDER / "ask.mjs")], address, requests)


def java_client(address: str, requests: Sequence[Request]) -> list[Answer]:
    """Java's HttpClient as it is by default, which asks for HTTP/2 with every request."""
    return _run(["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", str(FOLDER / "Ask.java")], address, requests)


def _run(command: list[str], address: str, requests: Sequence[Request]) -> list[Answer]:
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
    ran = subprocess.run(
        command, input="\n".join(lines), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert ran.returncode == 0, ran.stderr
    answers = []
    for line in ran.stdout.splitlines():
        status, headers, body = line.split("\t")
        said = [header.split(": ", 1) for header in base64.b64decode(headers).decode().splitlines()]
        answers.append(Answer(int(status), _lower((name, value) for name, value in said), base64.b64decode(body)))
    return answers


def _lower(headers: object) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}  # type: ignore[attr-defined]
