"""Stage 2: GAN training on the prepared images; an interrupted run resumes from its last checkpoint.

python -m training.train
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from training import paths
from training.data.batches import TrainingData
from training.data.manifest import Manifest, read_manifest
from training.fabric import make_fabric
from training.gan.checkpoint import RunFolder, open_run
from training.gan.ema import set_standing_statistics
from training.gan.start import keep_start, load_start
from training.gan.trainer import GANTrainer
from training.gan.training_state import StateDescription
from training.loop import TrainingLoop
from training.monitor import Monitor
from training.params import Params, load_params
from training.run_setup import Setup
from training.stage import run_stage
from training.torch_files import save_with_checksum


def main() -> None:
    """Train for train.length and save the weights for `export`."""
    params = load_params()
    manifest = read_manifest()
    fabric = make_fabric(params.train.device, params.train.deterministic)
    print(training_notice(params, manifest, fabric.device), flush=True)
    setup = Setup.of(params, manifest, fabric, load_start(params, manifest))
    with open_run(setup.name) as run:
        loop = TrainingLoop(setup, run)
        if setup.start is not None:  # and fits: one that does not is chosen again, under `auto`
            keep_start(params, manifest, setup.start)
        loop.train()
        save_weights(setup, loop, best_state(run, loop.monitor))
    loop.grids.save(paths.SAMPLES / "last.png", paths.PROGRESS_GRID)
    summary = f"{loop.gan.images_seen / 1000:.1f} kimg in {loop.seconds / 60:.1f} minutes on {fabric.device}"
    print(f"trained {summary}; sample grids in {paths.SAMPLES}, curves and advice in {paths.RUN_PAGE}")


def training_notice(params: Params, manifest: Manifest, device: torch.device) -> str:
    """First line of the stage, printed before anything that takes time."""
    length = params.train.length
    return (
        f"training {params.network.name} on {manifest.description} for {length.amount:g} {length.unit} on {device}; "
        "docs/training.md explains the progress lines"
    )


def best_state(run: RunFolder, monitor: Monitor) -> dict[str, Any] | None:
    """Trainer's state of the best checkpoint, where the last probe is clearly worse; None to take the last weights."""
    if monitor.best is None or not monitor.clearly_worse_than_best:
        return None
    state = run.load(monitor.best.kimg)
    return state and state["trainer"] | {"images_seen": state["images_seen"]}


def save_weights(setup: Setup, loop: TrainingLoop, best: dict[str, Any] | None) -> None:
    """Save the generator's EMA weights for `export`, and the discriminator's for runs that start from them.

    best: `best_state`, whose EMA weights are saved beside the last ones.
    """
    content: dict[str, Any] = {"acts": [asdict(act) for act in loop.monitor.acts]}
    if best is not None:
        generator = copy.deepcopy(loop.gan.ema)
        generator.load_state_dict(best["ema"])
        content["best"] = {
            "generator": standing_weights(generator, loop.gan, setup.data),
            "images_seen": best["images_seen"],
        }
    save_networks(loop.gan, setup.data, setup.describe(loop.gan), content)


def save_networks(gan: GANTrainer, data: TrainingData, description: StateDescription, more: Mapping[str, Any]) -> None:
    """Write models/generator.pt: the last weights of both networks, what they are, and more values."""
    content: dict[str, Any] = {
        "generator": standing_weights(gan.ema, gan, data),
        "discriminator": on_cpu(gan.discriminator),
        "images_seen": gan.images_seen,
        "description": description.model_dump(),
    }
    save_with_checksum(content | dict(more), paths.GENERATOR_WEIGHTS)


def standing_weights(generator: Any, gan: GANTrainer, data: TrainingData) -> dict[str, Tensor]:
    """Weights of an EMA generator after its batch norms got standing statistics."""
    set_standing_statistics(generator, gan.latent_dim, data.labels.to(gan.fabric.device), gan.batch_size)
    return on_cpu(generator)


def on_cpu(network: Any) -> dict[str, Tensor]:
    """Weights of a network on the CPU."""
    return {key: value.cpu() for key, value in network.state_dict().items()}


if __name__ == "__main__":
    run_stage(main)
