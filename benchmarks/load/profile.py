"""CPU profile of the service under load, by purpose of the code.

    python -m benchmarks.load.profile --seconds 10

The app runs in this process as `mint serve` runs it. A CPU timer interrupts the event loop's thread, and the time since
the last interrupt is attributed to the stack found there. In the worker threads, encoding is timed with their CPU
clocks; the rest of the process's CPU time is the network's. Prints JSON.

py-spy does not divide CPU time by thread: at 100 samples/s under 304s it cost 14% of the requests, and 43% of its
samples fell on waiting worker threads that had used 2% of the CPU time.
"""

import argparse
import http.client
import json
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

from benchmarks.baselines import commands
from benchmarks.load import wrk
from benchmarks.load.cpu_timer import signal_every
from benchmarks.load.http_client import HOST, READY, Request, send
from benchmarks.load.measure import CONNECTIONS, WARM_UP_S, not_modified_request
from benchmarks.load.servers import free_port
from serving.address import Address
from serving.http.state import AppState
from serving.inference import batcher
from serving.server.listener import bind
from serving.server.uvicorn_server import MintServer
from serving.settings import Settings

SAMPLE_EVERY_S = 0.001  # of the event loop's CPU time
TOP = 15
WARM_UP_SEED = 1_000_000_000

HTTP = "HTTP: uvicorn, event loop"
ROUTING = "routing: Starlette"
MIDDLEWARE = "middleware: ids, headers, metrics, logs"
VALIDATION = "validation and inputs"
QUEUE = "queue, on the event loop"
NETWORK = "latents, network and batching, in worker threads"
ENCODING = "encoding, in worker threads"
OTHER = "other"
REPORTED_PURPOSES = (HTTP, ROUTING, MIDDLEWARE, VALIDATION, QUEUE, NETWORK, ENCODING, OTHER)

# Purpose of a module on the event loop. A stack belongs to its innermost frame whose module, or a package around it, is
# listed; general modules (json, threading, numpy) are left out, so that their caller's purpose counts.
PURPOSES = {
    "uvicorn": HTTP,
    "uvloop": HTTP,
    "asyncio.runners": HTTP,
    "starlette": ROUTING,
    "starlette.requests": MIDDLEWARE,
    "starlette.responses": MIDDLEWARE,
    "starlette.datastructures": MIDDLEWARE,
    "prometheus_client": MIDDLEWARE,
    "logging": MIDDLEWARE,
    "pydantic": VALIDATION,
    "serving": MIDDLEWARE,
    "serving.http.schemas": VALIDATION,
    "serving.http.parsing": VALIDATION,
    "serving.inference.labels": VALIDATION,
    "serving.http.generation": VALIDATION,
    "serving.http.routes.generate": VALIDATION,
    "serving.inference.latents": VALIDATION,
    "serving.inference.batcher": QUEUE,
    "serving.inference.request_queue": QUEUE,
}

WORKER_THREADS = "mint-"  # name prefix of the threads that run the network and encode results


@dataclass(frozen=True)
class Profile:
    """CPU microseconds a request: in all, by purpose, and of the heaviest functions on the event loop."""

    requests_per_s: float
    cpu_us: float
    by_purpose: dict[str, float]
    top: dict[str, float]


def main() -> None:
    """Run the server on the main thread and the load on another."""
    parser = argparse.ArgumentParser(description="CPU profile of the service under load")
    parser.add_argument("--seconds", type=int, default=10, help="duration of each load")
    seconds = parser.parse_args().seconds
    port = free_port()
    server = MintServer(AppState(Settings.from_environment()))
    profiler = CpuProfiler()
    with ThreadPoolExecutor(1) as executor:
        profiles = executor.submit(profile_both, server, port, seconds, profiler)
        server.run([bind(Address(HOST, port))])
    print(json.dumps({name: asdict(profile) for name, profile in profiles.result().items()}))


def profile_both(server: MintServer, port: int, seconds: int, profiler: "CpuProfiler") -> dict[str, Profile]:
    """Profile a load of single PNGs and one of 304s, then stop the server."""
    try:
        while not is_ready(port):
            time.sleep(0.1)
        profiles = {}
        for name, request in (("png", commands.MINT.request), ("304", not_modified_request(port))):
            wrk.run(name, port, request, CONNECTIONS, WARM_UP_S, first_seed=WARM_UP_SEED)
            profiles[name] = profiler.profile(name, port, request, seconds)
        return profiles
    finally:
        server.should_exit = True


def is_ready(port: int) -> bool:
    """True once the service responds and its model is loaded."""
    with suppress(OSError, http.client.HTTPException):
        return send(port, READY).status == 200
    return False


class CpuProfiler:
    """Sampling profiler that divides CPU time by purpose; created on the event loop's thread, before the loop runs."""

    def __init__(self) -> None:
        self._loop = threading.current_thread()
        self._purposes: dict[str, float] = defaultdict(float)
        self._functions: dict[str, float] = defaultdict(float)
        self._last_sample = 0.0
        self._encoding: list[float] = []  # CPU seconds of each result
        batcher.Batcher._render = self._timed(batcher.Batcher._render)  # type: ignore[assignment, method-assign]
        signal.signal(signal.SIGPROF, self._on_sample)

    def profile(self, name: str, port: int, request: Request, seconds: int) -> Profile:
        """Run one load from the calling thread and return its profile."""
        self._purposes.clear()
        self._functions.clear()
        self._encoding.clear()
        before, own_before, threads_before = time.process_time(), time.thread_time(), thread_times()
        self._last_sample = threads_before[self._loop]
        with signal_every(SAMPLE_EVERY_S, signal.SIGPROF, self._loop):
            load = wrk.run(name, port, request, CONNECTIONS, seconds)
        for thread, spent in thread_times().items():
            attributed = thread in (self._loop, threading.current_thread()) or thread.name.startswith(WORKER_THREADS)
            if not attributed:
                self._purposes[OTHER] += spent - threads_before.get(thread, 0)
        self._purposes[ENCODING] = sum(self._encoding)
        total = time.process_time() - before - (time.thread_time() - own_before)
        self._purposes[NETWORK] = total - sum(self._purposes.values())
        heaviest = sorted(self._functions, key=lambda function: -self._functions[function])[:TOP]
        per_request = 1e6 / (load.requests_per_s * seconds)
        return Profile(
            load.requests_per_s,
            total * per_request,
            {purpose: self._purposes[purpose] * per_request for purpose in REPORTED_PURPOSES},
            {function: self._functions[function] * per_request for function in heaviest},
        )

    def _timed(self, render: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        """Wrap `Batcher._render` to record its CPU time."""

        def timed(batcher: Any, request: Any) -> None:
            began = time.thread_time()
            render(batcher, request)
            self._encoding.append(time.thread_time() - began)

        return timed

    def _on_sample(self, number: int, frame: FrameType | None) -> None:
        """Handle the timer's signal; frame: the innermost one on the event loop's thread."""
        if frame is None:
            return
        now = time.thread_time()
        purpose, function = attribute(frame)
        self._purposes[purpose] += now - self._last_sample
        self._functions[function] += now - self._last_sample
        self._last_sample = now


def thread_times() -> dict[threading.Thread, float]:
    """CPU seconds used by each Python thread."""
    threads = [thread for thread in threading.enumerate() if thread.ident is not None]
    return {thread: time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0)) for thread in threads}


def attribute(frame: FrameType) -> tuple[str, str]:
    """Purpose of the innermost frame that has one, and the name of its function."""
    nearest: FrameType | None = frame
    while nearest is not None:
        purpose = purpose_of(nearest.f_globals.get("__name__", ""))
        if purpose:
            return purpose, function_name(nearest)
        nearest = nearest.f_back
    return OTHER, function_name(frame)


def function_name(frame: FrameType) -> str:
    """Qualified name of a frame's function, with its module."""
    return f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_qualname}"


def purpose_of(module: str) -> str | None:
    """Entry of a module in PURPOSES, or that of the nearest package around it."""
    while module:
        if module in PURPOSES:
            return PURPOSES[module]
        module = module.rpartition(".")[0]
    return None


if __name__ == "__main__":
    main()
