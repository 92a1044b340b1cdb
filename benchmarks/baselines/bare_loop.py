"""A bare ONNX Runtime loop over a model file: what the network alone can do.

    python -m benchmarks.baselines.bare_loop MODEL --batch 64 --threads 2 --seconds 10

Prints images a second as JSON: `network` with latents that were made before, `with_latents` with latents made from
seeds inside the loop. ONNX Runtime's own defaults but for the threads, so its threads spin while they wait.
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
    """Runs both loops, half of the time each."""
    parser = argparse.ArgumentParser(description="images a second of ONNX Runtime without a service around it")
    parser.add_argument("model", type=Path)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    print(json.dumps(bare_rates(options.model, options.batch, options.threads, options.seconds)))


def bare_rates(model: Path, batch: int, threads: int, seconds: float) -> dict[str, float]:
    """Images a second of both loops."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
    card = read_card(session.get_modelmeta().custom_metadata_map, str(model))
    next_seed = 0

    def draw() -> dict[str, Any]:
        nonlocal next_seed
        seeds = list(range(next_seed, next_seed + batch))
        next_seed += batch
        latents, labels = from_seeds(seeds, card.latent_dim, len(card.classes))
        return {"z": latents, "label": labels} if card.classes else {"z": latents}

    drawn = draw()
    return {
        "network": batch * rate(lambda: session.run(["images"], drawn), seconds / 2),
        "with_latents": batch * rate(lambda: session.run(["images"], draw()), seconds / 2),
    }


def rate(work: Callable[[], list[np.ndarray[Any, Any]]], seconds: float) -> float:
    """How often a second `work` can be done, one after another."""
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
