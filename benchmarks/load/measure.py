"""Measurement rounds on one model, and their summary: medians over the rounds, ratios within a round."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.baselines import commands
from benchmarks.load import wrk
from benchmarks.load.http_client import NPY, Request, send
from benchmarks.load.servers import ROOT, Server, running_server, wait_until_ready
from benchmarks.load.wrk import LoadResult
from serving.errors import MintError
from serving.inference.generator import OnnxGenerator

CONNECTIONS = 32
BATCH = 64
WARM_UP_S = 2
SLICE_S = 2  # short, as the speed of a shared machine changes within ten seconds
SEEDS_PER_RUN = 10_000_000  # no two runs use the same seed
BY_URL = "mint, by URL"
NOT_MODIFIED = "mint, 304"
CHECK_SEED = 7


@dataclass(frozen=True)
class Plan:
    """Size of the benchmark: every server once a round, for so many seconds."""

    rounds: int
    seconds: int
    threads: int


@dataclass(frozen=True)
class RoundResult:
    """Measurements of one round.

    singles: by server, one PNG a request on many connections. batch: 64 seeds as npy on one connection.
    bare: images a second of the bare loop, as `loop_rates` names them.
    """

    singles: Mapping[str, LoadResult]
    batch: LoadResult
    bare: Mapping[str, float]


def measure(model: Path, plan: Plan, scratch: Path) -> list[RoundResult]:
    """Measure batches with only the service running, then single images of all servers in turn.

    Raises MintError when the servers do not return the same image for a seed.
    """
    seeds = iter(range(0, 2**32, SEEDS_PER_RUN))
    batches = measure_batches(model, plan, scratch, seeds)
    with ExitStack() as stack:
        servers = start_all(stack, commands.environment(model, plan.threads), scratch)
        check_same_image(model, servers)
        requests = single_requests(servers)
        measure_singles(requests, WARM_UP_S, seeds)
        singles = [measure_singles(requests, plan.seconds, seeds) for _ in range(plan.rounds)]
    return [RoundResult(each, *batch) for each, batch in zip(singles, batches, strict=True)]


def measure_batches(
    model: Path, plan: Plan, scratch: Path, seeds: Iterator[int]
) -> list[tuple[LoadResult, dict[str, float]]]:
    """Batches and bare loops of every round, with no other server running: idle servers take CPU time too."""
    mint, environment = commands.MINT, commands.environment(model, plan.threads)
    with running_server(mint.name, mint.arguments, environment, scratch / "alone") as server:
        wait_until_ready(server, mint.request)
        measure_batch_and_bare_loop(model, server.port, WARM_UP_S, plan.threads, seeds)
        return [
            measure_batch_and_bare_loop(model, server.port, plan.seconds, plan.threads, seeds)
            for _ in range(plan.rounds)
        ]


def start_all(stack: ExitStack, environment: Mapping[str, str], scratch: Path) -> dict[str, Server]:
    """Start all servers at once and wait for them; `stack` kills them."""
    servers = {
        each.name: stack.enter_context(running_server(each.name, each.arguments, environment, scratch))
        for each in commands.ALL
    }
    for each in commands.ALL:
        wait_until_ready(servers[each.name], each.request)
    return servers


def single_requests(servers: Mapping[str, Server]) -> dict[str, tuple[int, Request]]:
    """Port and request of every row in the table of single images."""
    mint = servers[commands.MINT.name].port
    rows = {each.name: (servers[each.name].port, each.request) for each in commands.ALL}
    return rows | {BY_URL: (mint, commands.BY_URL), NOT_MODIFIED: (mint, not_modified_request(mint))}


def not_modified_request(port: int) -> Request:
    """A request with a matching If-None-Match; raises MintError when its response is not a 304."""
    model = send(port, commands.MINT.request, [CHECK_SEED]).headers["x-mint-model"]
    path = f"/images/{CHECK_SEED}.png?model={model}"
    etag = send(port, Request("GET", path)).headers["etag"]
    request = Request("GET", path, headers=(("If-None-Match", etag),))
    status = send(port, request).status
    if status != 304:
        raise MintError(f"{path} responded with {status} to its own ETag, and 304 is what is to be measured")
    return request


def check_same_image(model: Path, servers: Mapping[str, Server]) -> None:
    """Raise MintError when a server's image of a seed differs from the model's by more than 1/255."""
    expected, _ = OnnxGenerator.load(model, "cpu").generate([CHECK_SEED])
    for each in (commands.MINT, *commands.BASELINES):
        response = send(servers[each.name].port, each.request, [CHECK_SEED])
        pixels = np.asarray(Image.open(io.BytesIO(response.body))).reshape(expected[0].shape)
        gap = int(np.abs(pixels.astype(int) - expected[0]).max())
        if gap > 1:
            raise MintError(
                f"{each.name} returns another image of seed {CHECK_SEED}, by up to {gap}/255: no comparison"
            )


def measure_singles(
    requests: Mapping[str, tuple[int, Request]], seconds: int, seeds: Iterator[int]
) -> dict[str, LoadResult]:
    """One run for every row of the table, one PNG a request."""
    return {
        name: wrk.run(name, port, request, CONNECTIONS, seconds, first_seed=next(seeds))
        for name, (port, request) in requests.items()
    }


def measure_batch_and_bare_loop(
    model: Path, port: int, seconds: int, threads: int, seeds: Iterator[int]
) -> tuple[LoadResult, dict[str, float]]:
    """Alternate short runs of the service and the bare loop, so that a drift in machine speed affects both alike.

    Each figure is the median over the runs, so that a burst of other work does not count. wrk leaves out the request
    that is in flight at the end, which costs the service half a request a run.
    """
    loads: list[LoadResult] = []
    bare: list[dict[str, float]] = []
    for _ in range(max(1, seconds // SLICE_S)):
        loads.append(wrk.run(commands.MINT.name, port, NPY, 1, SLICE_S, seeds=BATCH, first_seed=next(seeds)))
        bare.append(bare_loop(model, threads))
    return LoadResult(**medians(loads)), {name: median(each[name] for each in bare) for name in bare[0]}


def bare_loop(model: Path, threads: int) -> dict[str, float]:
    """`loop_rates` in a subprocess, SLICE_S for each of its two loops."""
    arguments = [str(model.resolve()), "--batch", str(BATCH), "--threads", str(threads)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.baselines.bare_loop", *arguments, "--seconds", str(2 * SLICE_S)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    rates: dict[str, float] = json.loads(done.stdout)
    return rates


def summary(rounds: Sequence[RoundResult]) -> dict[str, Any]:
    """Medians over the rounds, and `ratios`, each the median of the quotients within a round."""
    singles = {name: medians([each.singles[name] for each in rounds]) for name in rounds[0].singles}
    rates = {name: [each.singles[name].requests_per_s for each in rounds] for name in singles}
    images = [BATCH * each.batch.requests_per_s for each in rounds]
    bare = {name: [each.bare[name] for each in rounds] for name in rounds[0].bare}
    mint, http = rates[commands.MINT.name], rates[commands.STARLETTE.name]
    batch = medians([each.batch for each in rounds])
    return {
        "batch": {
            "images_per_s": median(images),
            "p50_ms": batch["p50_ms"],
            "p99_ms": batch["p99_ms"],
            "bare_loop_images_per_s": median(bare["network"]),
            "bare_loop_with_latents_images_per_s": median(bare["with_latents"]),
        },
        "singles": singles,
        "ratios": {
            "batch over bare loop": ratio(images, bare["network"]),
            "batch over bare loop with latents": ratio(images, bare["with_latents"]),
            **{f"mint over {each.name}": ratio(mint, rates[each.name]) for each in commands.BASELINES},
            f"mint over {commands.STARLETTE.name}": ratio(mint, http),
            f"{BY_URL} over {commands.STARLETTE.name}": ratio(rates[BY_URL], http),
            f"{NOT_MODIFIED} over {commands.STARLETTE.name}": ratio(rates[NOT_MODIFIED], http),
        },
    }


def medians(loads: Sequence[LoadResult]) -> dict[str, float]:
    """Median of each figure."""
    return {name: median(getattr(load, name) for load in loads) for name in ("requests_per_s", "p50_ms", "p99_ms")}


def ratio(measured: Sequence[float], baseline: Sequence[float]) -> float:
    """Median of the quotients of each round: a slowdown of a whole round cancels out."""
    return median(one / other for one, other in zip(measured, baseline, strict=True))
