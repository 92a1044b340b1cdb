"""Denial-of-service attacks over loopback, each for a bounded time from a bounded number of connections.

    python -m benchmarks.faults.attacks NAME PORT FOLDER SECONDS

FOLDER is that of the served models. Any response to an attack is acceptable. `under_attack` measures the service
meanwhile, in another process, so that the attack's own work does not slow the measurement.
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

from benchmarks.load.http_client import CONNECTION_ERRORS, HOST, JSON, Connection, Request

FEW, MANY = 8, 200  # connections
PARAMETERS = 17_000
LATENT_VALUES = 500_000  # of a JSON body, some 10 MB
PAUSE_S = 0.05  # between requests: without it the clients would take all of the CPU

LARGE_IMAGES = [
    *(Request("GET", f"/images/{seed}.webp?size=2047") for seed in range(4)),
    Request("GET", "/images/7.png?size=2047"),
    Request("POST", "/interpolate", '{"seeds": [1, 2], "steps": 60, "size": 511, "format": "webp"}', JSON),
    Request("POST", "/interpolate", '{"seeds": [1, 2], "steps": 3, "size": 2047, "format": "gif"}', JSON),
    Request("POST", "/generate", '{"count": 256, "format": "zip"}', JSON),
    Request("POST", "/generate", '{"count": 256, "format": "webp"}', JSON),
    Request("POST", "/generate", '{"count": 256, "format": "json"}', JSON),
]
LARGE_RESPONSE = Request("POST", "/generate", '{"count": 256, "format": "npy"}', JSON).to_bytes()


@dataclass(frozen=True)
class Target:
    """Service under attack."""

    port: int
    folder: Path


async def send_repeatedly(target: Target, requests: list[bytes]) -> None:
    """Send one request after another, and read every response."""
    for request in itertools.cycle(requests):
        with suppress(*CONNECTION_ERRORS, OSError):
            connection = await Connection.open(target.port)
            try:
                while True:
                    await connection.send(request)
                    await asyncio.sleep(PAUSE_S)
            finally:
                connection.close()
        await asyncio.sleep(PAUSE_S)


def repeated_requests(*requests: Request | bytes, clients: int = FEW) -> Callable[[Target], Coroutine[Any, Any, None]]:
    """Attack by clients that repeat these requests, each starting at a different one."""

    async def attack(target: Target) -> None:
        sent = [request if isinstance(request, bytes) else request.to_bytes() for request in requests]
        orders = [sent[first % len(sent) :] + sent[: first % len(sent)] for first in range(clients)]
        await asyncio.gather(*(send_repeatedly(target, order) for order in orders))

    return attack


def slow_sender(start: bytes, piece: bytes) -> Callable[[Target], Coroutine[Any, Any, None]]:
    """Slowloris attack: many clients that send the start of a request, then a piece a second, and never finish."""

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


async def unread_responses(target: Target) -> None:
    """Clients that request large responses, one after another, and never read one."""

    async def client() -> None:
        while True:
            with suppress(OSError):
                connection = await Connection.open(target.port)
                connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # TCP's transports have it
                try:
                    for _ in range(20):
                        connection.writer.write(LARGE_RESPONSE)
                        await asyncio.sleep(0.2)
                finally:
                    connection.close()

    await asyncio.gather(*(client() for _ in range(MANY // 2)))


async def model_files(target: Target) -> None:
    """Place damaged and unreadable files beside the served model, new ones all the time."""
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
            await asyncio.sleep(2.5)  # a file is loaded once unchanged for a second
    finally:
        for path in placed:
            path.unlink(missing_ok=True)


async def second_start(target: Target) -> None:
    """Start the service again and again on the port that it already listens on."""
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
    "parameters": repeated_requests(Request("GET", f"/images/7.png?{PARAMETER_LIST}")),
    "long names": repeated_requests(
        *(
            Request("POST", "/generate", f'{{"seeds": [1], "{field}": "{"x" * 500_000}"}}', JSON)
            for field in ("labels", "model", "x" * 500_000)
        )
    ),
    "long headers": repeated_requests(
        Request("GET", "/images/7.png", headers=(("Accept", "image/png;q=0.1," * 300_000),)),
        Request("GET", "/images/7.png", headers=tuple((f"X-{number}", "x") for number in range(20_000))),
    ),
    "documentation": repeated_requests(
        Request("GET", "/docs"), Request("GET", "/openapi.json"), Request("GET", "/metrics")
    ),
    "large latents": repeated_requests(
        Request("POST", "/generate", f'{{"latents": [{",".join([LATENTS] * (LATENT_VALUES // 128))}]}}', JSON),
        clients=4,
    ),
    "slow heads": slow_sender(f"GET /images/7.png HTTP/1.1\r\nHost: {HOST}\r\n".encode(), b"X-A: b\r\n"),
    "slow bodies": slow_sender(f"{POST_HEAD}Content-Length: 1000000\r\n\r\n".encode() + bytes(64_000), bytes(8_000)),
    "unread": unread_responses,
    "large images": repeated_requests(*LARGE_IMAGES, clients=30),
    "model files": model_files,
    "second start": second_start,
}


async def run_for(attack: Callable[[Target], Coroutine[Any, Any, None]], target: Target, seconds: float) -> None:
    """Run an attack for so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await attack(target)


def main() -> None:
    """Run one attack."""
    parser = argparse.ArgumentParser(description="attack a local service")
    parser.add_argument("name", choices=ATTACKS)
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    asyncio.run(run_for(ATTACKS[options.name], Target(options.port, options.folder), options.seconds))


if __name__ == "__main__":
    main()
