"""Traces of runs for the doctor's benchmark: each run is trained with its probes, and then measured independently."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.doctor.recipes import RECIPES, Plant, Recipe
from benchmarks.doctor.runs import Run
from benchmarks.experiments import dataset
from serving.files import atomic_write
from serving.inference import latents
from training.budget import TrainingBudget
from training.data.batches import TrainingData, held_out_positions
from training.data.manifest import Counts, Manifest
from training.evaluation.features import MOBILENET_V2, cached_features, extract_features
from training.evaluation.metrics import distribution_metrics
from training.fabric import make_fabric
from training.gan.ema import set_standing_statistics
from training.gan.trainer import Batch, GANTrainer
from training.monitor import exploded_row, probe_row
from training.networks.inference_wrapper import InferenceGenerator
from training.params import Params
from training.probes import Probes
from training.run_setup import Setup
from training.scalars import ExplosionError, StepScalars

PROBES = 20  # of a run
EVALUATED = 500  # generated images of the independent measurement; twice as many real ones
GENERATED_AT_ONCE = 100
EARLIEST_NAN, LATEST_NAN = 0.1, 0.5  # of the run


def record(run: Run) -> None:
    """Train a run and write its record: the rows of its probes, the independent metrics, and the seconds of both."""
    torch.set_num_threads(1)
    params, recipe = run.params, RECIPES[run.recipe]
    split = dataset.split(dataset.load(run.images.folder()), recipe.images, EVALUATED)
    setup = planted_setup(params, recipe, split.training)
    gan, data = setup.trainer(params), setup.data
    probes = Probes(data, split.training.classes, params.data.background)
    budget = setup.budget
    rows, seconds = train(gan, data, probes, int(budget.steps))
    content = asdict(run) | {
        "budget_kimg": budget.steps * gan.images_per_step / 1000,
        "rows": rows,
        "final": measure(gan, data, split),
        "seconds": seconds,
    }
    with atomic_write(run.path) as path:
        path.write_text(json.dumps(content) + "\n")


@dataclass(frozen=True)
class PlantedSetup(Setup):
    """Setup of a run with what its recipe plants: no batch norm in the generator, or NaN after a step."""

    plant: Plant | None = None

    def trainer(self, params: Params) -> GANTrainer:
        """New networks, planted."""
        gan = super().trainer(params)
        if self.plant == "no batch norm":
            for network in (gan.generator.module, gan.ema):
                remove_batch_norm(network)
        if self.plant == "nan":
            plant_nan(gan, nan_step(params.train.seed, int(self.budget.steps)))
        return gan


def planted_setup(params: Params, recipe: Recipe, images: dataset.LabelledImages) -> PlantedSetup:
    """Setup of a run of a recipe on these images."""
    pixels = torch.from_numpy(np.array(images.images)).permute(0, 3, 1, 2)
    labels = torch.from_numpy(np.array(images.labels))
    if recipe.plant == "shuffled labels":
        labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(params.train.seed))]
    fabric = make_fabric("cpu")
    data = TrainingData(pixels, labels, fabric.device, held_out_positions(len(pixels)))
    manifest = bench_manifest(params, images)
    return PlantedSetup(params, manifest, fabric, data, TrainingBudget.of(params.train, len(data)), None, recipe.plant)


def bench_manifest(params: Params, images: dataset.LabelledImages) -> Manifest:
    """Manifest of images that are not in data/prepared."""
    names = tuple(f"class {index}" for index in range(images.classes))
    return Manifest(
        source="benchmark",
        name="benchmark",
        licence="see the benchmark",
        images=len(images.images),
        resolution=params.data.resolution,
        channels=params.data.channels,
        classes=names,
        class_tags=tuple((name,) for name in names),
        images_per_class={},
        empty_classes=(),
        data_sha256="0" * 64,
        source_sha256="0" * 64,
        counts=Counts(files=len(images.images), candidates=len(images.images)),
        skipped=(),
    )


def remove_batch_norm(network: nn.Module) -> None:
    """Replace every batch norm by the identity. Its weights stay with the optimiser, which finds no gradient."""
    for module in list(network.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(module, name, nn.Identity())


def nan_step(seed: int, steps: int) -> int:
    """Step of a run after which a weight is made NaN."""
    return int(np.random.RandomState(seed).uniform(EARLIEST_NAN, LATEST_NAN) * steps)


def plant_nan(gan: GANTrainer, step: int) -> None:
    """Make a weight of the generator NaN after a step."""
    train_step = gan.step

    def planted(batches: Iterator[Batch]) -> dict[str, Tensor]:
        scalars = train_step(batches)
        if gan.steps == step:
            next(gan.generator.parameters()).data.view(-1)[0] = math.nan
        return scalars

    gan.step = planted  # type: ignore[method-assign]


def train(
    gan: GANTrainer, data: TrainingData, probes: Probes, steps: int
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Train to the end, or until a loss is not a number. Returns the rows of the probes, and the seconds spent."""
    batches = data.batches(0, gan.params.train)
    window = StepScalars()
    rows: list[dict[str, Any]] = []
    seconds = {"training": 0.0, "probes": 0.0}
    probed = {round(steps * (index + 1) / PROBES) for index in range(PROBES)}
    while gan.steps < steps:
        started = time.process_time()
        window.add(gan.step(batches))
        seconds["training"] += time.process_time() - started
        if gan.steps in probed:
            started = time.process_time()
            try:
                rows.append(probe_row(gan, window, probes))
            except ExplosionError:
                rows.append(exploded_row(gan))
                break
            seconds["probes"] += time.process_time() - started
    return rows, seconds


@torch.no_grad()
def measure(gan: GANTrainer, data: TrainingData, split: dataset.Split) -> dict[str, float]:
    """KID, precision and recall of the run's last images against images that no probe has seen; empty after NaN."""
    if not all(torch.isfinite(weight).all() for weight in gan.ema.parameters()):
        return {}
    set_standing_statistics(gan.ema, gan.latent_dim, data.labels, gan.batch_size)
    z = torch.from_numpy(latents.from_seeds(list(range(EVALUATED)), gan.latent_dim)[0])
    labels = torch.from_numpy(np.array(split.held_out.labels[:EVALUATED]))
    generated = torch.cat(list(generate(gan, z, labels))).numpy()
    cpu = torch.device("cpu")
    reference, held_out = (
        cached_features(np.array(part.images), MOBILENET_V2, cpu) for part in (split.reference, split.held_out)
    )
    real = distribution_metrics(held_out, reference)
    return distribution_metrics(extract_features(generated, MOBILENET_V2, cpu), reference) | {
        f"{name}_of_real": value for name, value in real.items()
    }


def generate(gan: GANTrainer, z: Tensor, labels: Tensor) -> Iterator[Tensor]:
    """Images uint8 [n, H, W, C] of latents z [N, latent_dim] and labels [N], a few at a time."""
    generator = InferenceGenerator(gan.ema)
    for start in range(0, len(z), GENERATED_AT_ONCE):
        rows = slice(start, start + GENERATED_AT_ONCE)
        yield generator(z[rows], labels[rows])
