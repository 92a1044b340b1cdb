"""Where the service's CPU time goes under load, by what each part is for.

    python -m benchmarks.load.profile --seconds 10

The app runs here as `mint serve` runs it. The event loop's thread is interrupted whenever it has
spent some CPU time, and that time goes to what it is seen doing. In the threads of the queue, what making answers
takes is read from their clocks; the rest of the process's time is the network's. Prints JSON.
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
from benchmarks.load.measure import CONNECTIONS, WARM_UP_S, unchanged_request
from benchmarks.load.messages import HOST, READY, Request, ask
from benchmarks.load.servers import free_port
from serving.app import App
from serving.http.state import AppState
from serving.inference import batcher
from serving.server.listener import Address, bind
from serving.server.uvicorn_server import MintServer
from serving.settings import Settings

LOOK_EVERY_S = 0.001  # of the event loop's CPU time
TOP = 15
WARM_UP_SEED = 1_000_000_000

HTTP = "HTTP: uvicorn, event loop"
ROUTING = "routing: Starlette"
EDGE = "edge: ids, headers, metrics, logs"
VALIDATION = "validation and inputs"
QUEUE = "queue, as the event loop sees it"
NETWORK = "latents, network and its batches, in threads of their own"
ENCODING = "encoding, in threads of its own"
OTHER = "other"
PURPOSES_SHOWN = (HTTP, ROUTING, EDGE, VALIDATION, QUEUE, NETWORK, ENCODING, OTHER)

# What a module is for on the event loop. The innermost frame of a stack whose module, or a package of it, is here
# decides; modules that serve anyone (json, threading, numpy) are left out, so that their callers do.
PURPOSES = {
    "uvicorn": HTTP,
    "uvloop": HTTP,
    "asyncio.runners": HTTP,
    "starlette": ROUTING,
    "starlette.requests": EDGE,
    "starlette.responses": EDGE,
    "starlette.datastructures": EDGE,
    "prometheus_client": EDGE,
    "logging": EDGE,
    "pydantic": VALIDATION,
    "serving": EDGE,
    "serving.http.schemas": VALIDATION,
    "serving.http.parsing": VALIDATION,
    "serving.http.content_negotiation": VALIDATION,
    "serving.inference.labels": VALIDATION,
    "serving.http.generation": VALIDATION,
    "serving.inference.generator": VALIDATION,
    "serving.inference.batcher": QUEUE,
}

QUEUE_THREADS = "mint-"  # how the names of those start that run the network and make answers


@dataclass(frozen=True)
class Profile:
    """CPU microseconds a request: in all, by purpose, and of the event loop's functions that spend most."""

    requests_per_s: float
    cpu_us: float
    by_purpose: dict[str, float]
    top: dict[str, float]


def main() -> None:
    """Runs the server on the main thread and everything else beside it."""
    parser = argparse.ArgumentParser(description="where the service's CPU time goes under load")
    parser.add_argument("--seconds", type=int, default=10, help="time of each load")
    seconds = parser.parse_args().seconds
    port = free_port()
    server = MintServer(App(AppState(Settings.from_environment())))
    watcher = Watcher()
    with ThreadPoolExecutor(1) as beside:
        profiles = beside.submit(profile_both, server, port, seconds, watcher)
        server.run([bind(Address(HOST, port))])
    print(json.dumps({name: asdict(profile) for name, profile in profiles.result().items()}))


def profile_both(server: MintServer, port: int, seconds: int, watcher: "Watcher") -> dict[str, Profile]:
    """The profile of single PNGs and that of 304s; stops the server in the end."""
    try:
        while not is_ready(port):
            time.sleep(0.1)
        profiles = {}
        for name, request in (("png", commands.MINT.request), ("304", unchanged_request(port))):
            wrk.load(name, port, request, CONNECTIONS, WARM_UP_S, first_seed=WARM_UP_SEED)
            profiles[name] = watcher.watch(name, port, request, seconds)
        return profiles
    finally:
        server.should_exit = True


def is_ready(port: int) -> bool:
    """Whether the service answers and its model is loaded."""
    with suppress(OSError, http.client.HTTPException):
        return ask(port, READY).status == 200
    return False


class Watcher:
    """Divides CPU time by purpose; made on the event loop's thread, before the loop runs."""

    def __init__(self) -> None:
        self._loop = threading.current_thread()
        self._purposes: dict[str, float] = defaultdict(float)
        self._functions: dict[str, float] = defaultdict(float)
        self._seen = 0.0
        self._encoding: list[float] = []  # CPU seconds of each answer
        batcher.Batcher._finish = self._timed(batcher.Batcher._finish)  # type: ignore[assignment, method-assign]
        signal.signal(signal.SIGPROF, self._look)

    def watch(self, name: str, port: int, request: Request, seconds: int) -> Profile:
        """The profile of one load, which the calling thread waits for."""
        self._purposes.clear()
        self._functions.clear()
        self._encoding.clear()
        before, own_before, threads_before = time.process_time(), time.thread_time(), thread_times()
        self._seen = threads_before[self._loop]
        with signal_every(LOOK_EVERY_S, signal.SIGPROF, self._loop):
            load = wrk.load(name, port, request, CONNECTIONS, seconds)
        for thread, spent in thread_times().items():
            ours = thread in (self._loop, threading.current_thread()) or thread.name.startswith(QUEUE_THREADS)
            if not ours:
                self._purposes[OTHER] += spent - threads_before.get(thread, 0)
        self._purposes[ENCODING] = sum(self._encoding)
        total = time.process_time() - before - (time.thread_time() - own_before)
        self._purposes[NETWORK] = total - sum(self._purposes.values())
        heaviest = sorted(self._functions, key=lambda function: -self._functions[function])[:TOP]
        per_request = 1e6 / (load.requests_per_s * seconds)
        return Profile(
            load.requests_per_s,
            total * per_request,
            {purpose: self._purposes[purpose] * per_request for purpose in PURPOSES_SHOWN},
            {function: self._functions[function] * per_request for function in heaviest},
        )

    def _timed(self, finish: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        """`finish`, with the time that it takes kept."""

        def timed(batcher: Any, request: Any) -> None:
            began = time.thread_time()
            finish(batcher, request)
            self._encoding.append(time.thread_time() - began)

        return timed

    def _look(self, number: int, frame: FrameType | None) -> None:
        """Handles the signal; frame: what the event loop's thread was doing."""
        if frame is None:
            return
        now = time.thread_time()
        purpose, function = place(frame)
        self._purposes[purpose] += now - self._seen
        self._functions[function] += now - self._seen
        self._seen = now


def thread_times() -> dict[threading.Thread, float]:
    """CPU seconds that each of Python's threads has spent."""
    threads = [thread for thread in threading.enumerate() if thread.ident is not None]
    return {thread: time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0)) for thread in threads}


def place(frame: FrameType) -> tuple[str, str]:
    """The purpose of the innermost frame that has one, and the name of its function."""
    nearest: FrameType | None = frame
    while nearest is not None:
        purpose = purpose_of(nearest.f_globals.get("__name__", ""))
        if purpose:
            return purpose, function_name(nearest)
        nearest = nearest.f_back
    return OTHER, function_name(frame)


def function_name(frame: FrameType) -> str:
    """The function that runs in a frame, with its module."""
    return f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_qualname}"


def purpose_of(module: str) -> str | None:
    """What a module is for: its own entry in PURPOSES, or that of the nearest package around it."""
    while module:
        if module in PURPOSES:
            return PURPOSES[module]
        module = module.rpartition(".")[0]
    return None


if __name__ == "__main__":
    main()
