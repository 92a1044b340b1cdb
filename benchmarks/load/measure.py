"""The rounds of measurements on one model, and what follows from them: medians, and ratios within the rounds."""

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
from benchmarks.load.messages import PIXELS, Request, ask
from benchmarks.load.servers import ROOT, Server, started, wait_until_ready
from benchmarks.load.wrk import Load, load
from serving.errors import MintError
from serving.inference.generator import OnnxGenerator

CONNECTIONS = 32
BATCH = 64
WARM_UP_S = 2
TURN_S = 2  # short, as a shared machine is often another ten seconds later
SEEDS_A_RUN = 10_000_000  # seeds of one run are never those of another
BY_URL = "mint, by URL"
UNCHANGED = "mint, 304"
SHOWN_SEED = 7


@dataclass(frozen=True)
class Plan:
    """How much is measured: each contestant once a round, for so many seconds."""

    rounds: int
    seconds: int
    threads: int


@dataclass(frozen=True)
class Round:
    """One round.

    singles: the PNG of one seed a request, many connections. batch: 64 seeds as npy, one connection, in turn with bare.
    """

    singles: Mapping[str, Load]
    batch: Load
    bare: Mapping[str, float]  # images a second of a bare loop, as `bare_rates` names them


def measure(model: Path, plan: Plan, scratch: Path) -> list[Round]:
    """Batches from the service while nothing else is there; then everyone, in turn, once all give the same picture."""
    seeds = iter(range(0, 2**32, SEEDS_A_RUN))
    batches = measure_batches(model, plan, scratch, seeds)
    with ExitStack() as stack:
        servers = start_all(stack, commands.environment(model, plan.threads), scratch)
        check_same_picture(model, servers)
        requests = single_requests(servers)
        one_round(requests, WARM_UP_S, seeds)
        singles = [one_round(requests, plan.seconds, seeds) for _ in range(plan.rounds)]
    return [Round(each, *batch) for each, batch in zip(singles, batches, strict=True)]


def measure_batches(
    model: Path, plan: Plan, scratch: Path, seeds: Iterator[int]
) -> list[tuple[Load, dict[str, float]]]:
    """Each round's batches beside its bare loops, from a service of its own: servers do some work when idle, too."""
    mint = commands.MINT
    with started(mint.name, mint.arguments, commands.environment(model, plan.threads), scratch / "alone") as server:
        wait_until_ready(server, mint.request)
        batch_and_bare(model, server.port, WARM_UP_S, plan.threads, seeds)
        return [batch_and_bare(model, server.port, plan.seconds, plan.threads, seeds) for _ in range(plan.rounds)]


def start_all(stack: ExitStack, environment: Mapping[str, str], scratch: Path) -> dict[str, Server]:
    """Everyone, started at the same time and waited for; `stack` ends them."""
    servers = {
        each.name: stack.enter_context(started(each.name, each.arguments, environment, scratch))
        for each in commands.ALL
    }
    for each in commands.ALL:
        wait_until_ready(servers[each.name], each.request)
    return servers


def single_requests(servers: Mapping[str, Server]) -> dict[str, tuple[int, Request]]:
    """The port and the request of every row of the table of single images."""
    mint = servers[commands.MINT.name].port
    rows = {each.name: (servers[each.name].port, each.request) for each in commands.ALL}
    return rows | {BY_URL: (mint, commands.BY_URL), UNCHANGED: (mint, unchanged_request(mint))}


def unchanged_request(port: int) -> Request:
    """A request for an image that the client has already; raises MintError when it is not answered with 304."""
    model = ask(port, commands.MINT.request, [SHOWN_SEED]).headers["x-mint-model"]
    path = f"/images/{SHOWN_SEED}.png?model={model}"
    etag = ask(port, Request("GET", path)).headers["etag"]
    request = Request("GET", path, headers=(("If-None-Match", etag),))
    status = ask(port, request).status
    if status != 304:
        raise MintError(f"{path} was answered with {status} to its own ETag, and 304 is what is to be measured")
    return request


def check_same_picture(model: Path, servers: Mapping[str, Server]) -> None:
    """Raises MintError for a contestant whose picture of a seed is another than the model's."""
    expected, _ = OnnxGenerator.load(model, "cpu").draw([SHOWN_SEED])
    for each in (commands.MINT, *commands.RIVALS):
        answer = ask(servers[each.name].port, each.request, [SHOWN_SEED])
        pixels = np.asarray(Image.open(io.BytesIO(answer.body))).reshape(expected[0].shape)
        gap = int(np.abs(pixels.astype(int) - expected[0]).max())
        if gap > 1:
            raise MintError(f"{each.name} draws another picture of seed {SHOWN_SEED}, by up to {gap}/255: no contest")


def one_round(requests: Mapping[str, tuple[int, Request]], seconds: int, seeds: Iterator[int]) -> dict[str, Load]:
    """Everyone once, a PNG a request."""
    return {
        name: load(name, port, request, CONNECTIONS, seconds, first_seed=next(seeds))
        for name, (port, request) in requests.items()
    }


def batch_and_bare(
    model: Path, port: int, seconds: int, threads: int, seeds: Iterator[int]
) -> tuple[Load, dict[str, float]]:
    """Batches from the service and the bare loop by short turns, so that a machine that drifts is the same to both.

    Each figure is the median over the turns, so that a burst of somebody else's work does not count. wrk leaves out
    the request that the end of a turn cuts short, which takes half a request a turn from the service.
    """
    loads: list[Load] = []
    bare: list[dict[str, float]] = []
    for _ in range(max(1, seconds // TURN_S)):
        loads.append(load(commands.MINT.name, port, PIXELS, 1, TURN_S, seeds=BATCH, first_seed=next(seeds)))
        bare.append(bare_loop(model, threads))
    return Load(**medians(loads)), {name: median(each[name] for each in bare) for name in bare[0]}


def bare_loop(model: Path, threads: int) -> dict[str, float]:
    """`bare_rates` in a process of its own, a turn for each of its two loops."""
    arguments = [str(model.resolve()), "--batch", str(BATCH), "--threads", str(threads)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.baselines.bare_loop", *arguments, "--seconds", str(2 * TURN_S)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    rates: dict[str, float] = json.loads(done.stdout)
    return rates


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """Medians over the rounds, and `ratios`, each a median of what was divided within a round."""
    singles = {name: medians([each.singles[name] for each in rounds]) for name in rounds[0].singles}
    rates = {name: [each.singles[name].requests_per_s for each in rounds] for name in singles}
    images = [BATCH * each.batch.requests_per_s for each in rounds]
    bare = {name: [each.bare[name] for each in rounds] for name in rounds[0].bare}
    mint, http = rates[commands.MINT.name], rates[commands.STARLETTE.name]
    times = medians([each.batch for each in rounds])
    return {
        "batch": {
            "images_per_s": median(images),
            "p50_ms": times["p50_ms"],
            "p99_ms": times["p99_ms"],
            "bare_loop_images_per_s": median(bare["network"]),
            "bare_loop_with_latents_images_per_s": median(bare["with_latents"]),
        },
        "singles": singles,
        "ratios": {
            "batch over bare loop": ratio(images, bare["network"]),
            "batch over bare loop with latents": ratio(images, bare["with_latents"]),
            **{f"mint over {each.name}": ratio(mint, rates[each.name]) for each in commands.RIVALS},
            f"mint over {commands.STARLETTE.name}": ratio(mint, http),
            f"{BY_URL} over {commands.STARLETTE.name}": ratio(rates[BY_URL], http),
            f"{UNCHANGED} over {commands.STARLETTE.name}": ratio(rates[UNCHANGED], http),
        },
    }


def medians(loads: Sequence[Load]) -> dict[str, float]:
    """Each figure's median."""
    return {name: median(getattr(load, name) for load in loads) for name in ("requests_per_s", "p50_ms", "p99_ms")}


def ratio(measured: Sequence[float], baseline: Sequence[float]) -> float:
    """The median of the quotients of each round: what slows a whole round down divides out."""
    return median(mine / other for mine, other in zip(measured, baseline, strict=True))
