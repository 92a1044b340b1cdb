"""Bare ONNX Runtime loop over a model file: throughput of the network alone.

    python -m benchmarks.baselines.bare_loop MODEL --batch 64 --threads 2 --seconds 10

Prints images a second as JSON: `network` with latents made ahead, `with_latents` with latents made from seeds inside
the loop. Apart from the number of threads, ONNX Runtime has its defaults, so its threads spin while they wait.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from serving.inference.latents import from_seeds
from serving.inference.model_card import read_card

WARM_UP_RUNS = 5


def main() -> None:
    """Run both loops, half of the time each."""
    parser = argparse.ArgumentParser(description="images a second of ONNX Runtime without a service around it")
    parser.add_argument("model", type=Path)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    print(json.dumps(loop_rates(options.model, options.batch, options.threads, options.seconds)))


def loop_rates(model: Path, batch: int, threads: int, seconds: float) -> dict[str, float]:
    """Images a second of both loops, by name."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
    card = read_card(session.get_modelmeta().custom_metadata_map, str(model))
    next_seed = 0

    def next_inputs() -> dict[str, Any]:
        nonlocal next_seed
        seeds = list(range(next_seed, next_seed + batch))
        next_seed += batch
        latents, labels = from_seeds(seeds, card.latent_dim, len(card.classes))
        return {"z": latents, "label": labels} if card.classes else {"z": latents}

    inputs = next_inputs()
    return {
        "network": batch * rate(lambda: session.run(["images"], inputs), seconds / 2),
        "with_latents": batch * rate(lambda: session.run(["images"], next_inputs()), seconds / 2),
    }


def rate(work: Callable[[], list[np.ndarray[Any, Any]]], seconds: float) -> float:
    """Calls a second of `work`, one after another."""
    for _ in range(WARM_UP_RUNS):
        work()
    runs = 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        work()
        runs += 1
    return runs / elapsed


if __name__ == "__main__":
    main()
