"""Attacks on the service, over loopback, each for a bounded time from a bounded number of connections.

    python -m benchmarks.faults.attacks NAME PORT FOLDER SECONDS

FOLDER is that of the served models. Each attack goes on until its time is up; whatever the service answers to it is
right. They run in a process of their own, so that their work is not in the way of what measures the service.
"""

import argparse
import asyncio
import itertools
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load.connection import BROKEN, Connection
from benchmarks.load.messages import HOST, JSON, Request

FEW, MANY = 8, 200  # connections
PARAMETERS = 17_000
LATENT_NUMBERS = 500_000  # of a JSON body, some 10 MB
PAUSE_S = 0.05  # where a client would otherwise turn in circles: the machine has few cores

LARGE_PICTURES = [
    *(Request("GET", f"/images/{seed}.webp?size=2047") for seed in range(4)),
    Request("GET", "/images/7.png?size=2047"),
    Request("POST", "/interpolate", '{"seeds": [1, 2], "steps": 60, "size": 511, "format": "webp"}', JSON),
    Request("POST", "/interpolate", '{"seeds": [1, 2], "steps": 3, "size": 2047, "format": "gif"}', JSON),
    Request("POST", "/generate", '{"count": 256, "format": "zip"}', JSON),
    Request("POST", "/generate", '{"count": 256, "format": "webp"}', JSON),
    Request("POST", "/generate", '{"count": 256, "format": "json"}', JSON),
]
UNREAD = Request("POST", "/generate", '{"count": 256, "format": "npy"}', JSON).to_bytes()


@dataclass(frozen=True)
class Target:
    """What is attacked."""

    port: int
    folder: Path


async def repeat(target: Target, requests: list[bytes]) -> None:
    """One client that asks one request after another, and reads every answer."""
    for request in itertools.cycle(requests):
        with suppress(*BROKEN, OSError):
            connection = await Connection.open(target.port)
            try:
                while True:
                    await connection.ask(request)
                    await asyncio.sleep(PAUSE_S)
            finally:
                connection.close()
        await asyncio.sleep(PAUSE_S)


def asking(*requests: Request | bytes, clients: int = FEW) -> Callable[[Target], Coroutine[Any, Any, None]]:
    """An attack by clients that repeat these requests, each beginning with another one."""

    async def attack(target: Target) -> None:
        sent = [request if isinstance(request, bytes) else request.to_bytes() for request in requests]
        turns = [sent[first % len(sent) :] + sent[: first % len(sent)] for first in range(clients)]
        await asyncio.gather(*(repeat(target, turn) for turn in turns))

    return attack


def trickling(start: bytes, piece: bytes) -> Callable[[Target], Coroutine[Any, Any, None]]:
    """An attack by many clients that send a start and then a piece from time to time, and never end."""

    async def client(target: Target) -> None:
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, target.port)
                try:
                    writer.write(start)
                    while not writer.is_closing():
                        await writer.drain()
                        await asyncio.sleep(1)
                        writer.write(piece)
                finally:
                    writer.close()
            await asyncio.sleep(PAUSE_S)

    async def attack(target: Target) -> None:
        await asyncio.gather(*(client(target) for _ in range(MANY)))

    return attack


async def unread(target: Target) -> None:
    """Clients that ask for large answers, one after another, and never read one."""

    async def client() -> None:
        while True:
            with suppress(OSError):
                connection = await Connection.open(target.port)
                connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # TCP's transports have it
                try:
                    for _ in range(20):
                        connection.writer.write(UNREAD)
                        await asyncio.sleep(0.2)
                finally:
                    connection.close()

    await asyncio.gather(*(client() for _ in range(MANY // 2)))


async def model_files(target: Target) -> None:
    """Files that are no models, and cannot be read, beside the served one, new ones all the time."""
    whole = next(target.folder.glob("*.onnx")).read_bytes()
    pipe = target.folder / "pipe.onnx"
    os.mkfifo(pipe)
    unprintable = target.folder / os.fsdecode(b"caf\xe9.onnx")
    placed = [pipe, unprintable]
    try:
        for number in itertools.count():
            for name, content in (
                ("cut", whole[: len(whole) // 2]),
                ("flipped", whole[:-1000] + bytes([whole[-1000] ^ 1]) + whole[-999:]),
                ("huge", b"\x3a\xff\xff\xff\xff\x0f" + bytes(number)),
                (f"copy-{number % 2}", whole),
            ):
                placed.append(target.folder / f"{name}.onnx")
                placed[-1].with_suffix(".part").write_bytes(content)
                placed[-1].with_suffix(".part").rename(placed[-1])
            unprintable.write_bytes(whole)
            await asyncio.sleep(2.5)  # it is looked at when it has been at rest for a second
    finally:
        for path in placed:
            path.unlink(missing_ok=True)


async def second_start(target: Target) -> None:
    """The service started again and again on the port that it has."""
    arguments = ["-m", "serving.cli", "serve", "--host", HOST, "--port", str(target.port)]
    quiet = asyncio.subprocess.DEVNULL
    while True:
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=quiet, stderr=quiet)
        try:
            if await process.wait() == 0:
                raise RuntimeError("a second service has started on the same port")
        finally:
            with suppress(ProcessLookupError):
                process.kill()


POST_HEAD = f"POST /generate HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
LATENTS = "[" + ",".join(["0.12345678901234567"] * 128) + "]"
PARAMETER_LIST = "&".join(f"a{number}=1" for number in range(PARAMETERS))
ATTACKS: dict[str, Callable[[Target], Coroutine[Any, Any, None]]] = {
    "parameters": asking(Request("GET", f"/images/7.png?{PARAMETER_LIST}")),
    "long names": asking(
        *(
            Request("POST", "/generate", f'{{"seeds": [1], "{field}": "{"x" * 500_000}"}}', JSON)
            for field in ("labels", "model", "x" * 500_000)
        )
    ),
    "long headers": asking(
        Request("GET", "/images/7.png", headers=(("Accept", "image/png;q=0.1," * 300_000),)),
        Request("GET", "/images/7.png", headers=tuple((f"X-{number}", "x") for number in range(20_000))),
    ),
    "documentation": asking(Request("GET", "/docs"), Request("GET", "/openapi.json"), Request("GET", "/metrics")),
    "large latents": asking(
        Request("POST", "/generate", f'{{"latents": [{",".join([LATENTS] * (LATENT_NUMBERS // 128))}]}}', JSON),
        clients=4,
    ),
    "slow heads": trickling(f"GET /images/7.png HTTP/1.1\r\nHost: {HOST}\r\n".encode(), b"X-A: b\r\n"),
    "slow bodies": trickling(f"{POST_HEAD}Content-Length: 1000000\r\n\r\n".encode() + bytes(64_000), bytes(8_000)),
    "unread": unread,
    "large pictures": asking(*LARGE_PICTURES, clients=30),
    "model files": model_files,
    "second start": second_start,
}


async def for_seconds(attack: Callable[[Target], Coroutine[Any, Any, None]], target: Target, seconds: float) -> None:
    """Attacks for so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await attack(target)


def main() -> None:
    """One attack."""
    parser = argparse.ArgumentParser(description="an attack on a service of this machine")
    parser.add_argument("name", choices=ATTACKS)
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()
    asyncio.run(for_seconds(ATTACKS[given.name], Target(given.port, given.folder), given.seconds))


if __name__ == "__main__":
    main()
