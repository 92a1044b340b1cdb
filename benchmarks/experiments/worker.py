"""Worker of the experiments: train one seed of a variant, evaluate it every few epochs, and save its result."""

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.experiments import dataset
from benchmarks.experiments.evaluator import EXTRACTOR, Evaluator, load_evaluator, measure, train_evaluator
from benchmarks.experiments.results import GRIDS, Evaluation, Hardware, LossPoint, SeedResult, write_record
from benchmarks.experiments.variants import Size, Variant
from benchmarks.machine import cpu_model
from serving.encoding.images import contact_sheet
from serving.files import atomic_write
from serving.inference import latents
from training.budget import TrainingBudget
from training.data.batches import TrainingData
from training.fabric import make_fabric
from training.gan.trainer import GANTrainer
from training.networks.inference_wrapper import InferenceGenerator
from training.params import Params
from training.sample_grids import sample_images

GRID_EPOCHS = (1, 10, 50, 100)  # and the last
GRID_IMAGES = 20
GRID_COLUMNS = 10
GRID_COLOURS = 32  # the report has many grids, so each must be small
LOSS_POINTS = 60  # of a run, about
BATCH = 64  # images sampled at a time
TIMED_BATCH, TIMED_STEPS = 4, 2  # of the source's own network


@dataclass(frozen=True)
class Job:
    """One seed of a variant, the folder of its images, and the path of its result."""

    variant: Variant
    size: Size
    seed: int
    spec: dataset.ImageSpec
    images: Path
    result: Path
    workers: int


@dataclass
class TrainingRun:
    """A training run in progress, and its measurements so far."""

    gan: GANTrainer
    epochs: int
    images_per_epoch: int
    evaluations: list[Evaluation] = field(default_factory=list)
    losses: list[LossPoint] = field(default_factory=list)
    diverged_at: float | None = None
    seconds: float = 0.0  # of training alone

    @property
    def epoch(self) -> float:
        """Epochs completed, with fractions."""
        return self.gan.images_seen / self.images_per_epoch


def evaluation_epochs(epochs: int) -> tuple[int, ...]:
    """Epochs after which a run is evaluated: densely at first, and after the last."""
    wanted = (1, 2, 3, 5, 7, *range(10, 50, 5), *range(50, 100, 10), *range(100, epochs, 25))
    return (*(epoch for epoch in wanted if epoch < epochs), epochs)


def grid_epochs(epochs: int) -> tuple[int, ...]:
    """Epochs after which a sample grid is written."""
    return (*(epoch for epoch in GRID_EPOCHS if epoch < epochs), epochs)


def prepare_evaluator(job: Job) -> None:
    """Train and save what all runs on the same images share: the classifier and the metrics of real images."""
    split = dataset.split(dataset.load(job.images), None, job.size.evaluated)
    train_evaluator(split, job.images, job.size.classifier_epochs)


def run_job(job: Job) -> SeedResult:
    """Train, evaluate and save one run. The result file is written last and marks the sample grids as complete."""
    started_at, started = time.time(), time.perf_counter()
    size, params = job.size, job.variant.params(job.size, job.seed)
    split = dataset.split(dataset.load(job.images), size.images, size.evaluated)
    fabric = make_fabric(params.train.device)
    gan = GANTrainer(params, None, fabric)
    data = training_data(split.training, fabric.device)
    run = TrainingRun(gan, size.epochs, data.images_per_epoch(gan.batch_size))
    evaluator = load_evaluator(split, job.images, size.classifier_epochs)
    train(run, data, params, evaluator, size.evaluated, job.result.parent / GRIDS if job.seed == 0 else None)
    images, sampled_per_second = sample(gan, size.evaluated)
    metrics, real = measure(images, split, job.images)
    timed = job.variant.times_source and job.seed == 0 and size is not job.variant.full
    result = SeedResult(
        seed=job.seed,
        images=len(data),
        started_at=started_at,
        seconds=time.perf_counter() - started,
        diverged_at=run.diverged_at,
        steps=gan.steps,
        images_seen=gan.images_seen,
        step_ms=1000 * run.seconds / gan.steps,
        images_per_second=gan.images_seen / run.seconds,
        sampled_per_second=sampled_per_second,
        source_image_ms=source_image_ms(job.variant.params(job.variant.full, 0), fabric) if timed else None,
        evaluations=tuple(run.evaluations),
        losses=tuple(run.losses),
        metrics=metrics if run.diverged_at is None else {},
        real=real,
        extractor=EXTRACTOR,
        classifier_accuracy=evaluator.accuracy,
        hardware=hardware(job.workers),
    )
    write_record(result, job.result)
    return result


def train(
    run: TrainingRun,
    data: TrainingData,
    params: Params,
    evaluator: Evaluator,
    evaluated: int,
    grids: Path | None,
) -> None:
    """Train to the last epoch, or until the run diverges, which is a result and not an error.

    evaluated: images of an evaluation. grids: folder for sample grids; None for none.
    """
    gan = run.gan
    steps = int(TrainingBudget.of(params.train, run.images_per_epoch).steps)
    batches = data.batches(0, params.train)
    evaluations_due, grids_due = list(evaluation_epochs(run.epochs)), list(grid_epochs(run.epochs))
    interval = max(1, steps // LOSS_POINTS)
    while gan.steps < steps and run.diverged_at is None:
        # Stop at the end of each epoch, where evaluations are due.
        ahead = math.ceil((math.floor(run.epoch) + 1 - run.epoch) * run.images_per_epoch / gan.images_per_step)
        train_steps(run, batches, min(interval, max(1, ahead), steps - gan.steps))
        if run.diverged_at is None:
            epoch = pop_due(evaluations_due, run.epoch)
            if epoch is not None:
                run.evaluations.append(evaluator.evaluate(sample(gan, evaluated)[0], epoch))
            epoch = pop_due(grids_due, run.epoch)
            if epoch is not None and grids is not None:
                write_grid(gan, grids / f"epoch-{epoch:04d}.png")


def train_steps(run: TrainingRun, batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> None:
    """Train a few steps, and record their time and mean losses."""
    gan = run.gan
    losses = []
    started = clock(gan.fabric.device)
    for _ in range(steps):
        scalars = gan.step(batches)
        losses.append(torch.stack([scalars["d_loss"], scalars["g_loss"]]))
    d_loss, g_loss = torch.stack(losses).mean(0).tolist()  # synchronises with a GPU, so that the time is complete
    run.seconds += clock(gan.fabric.device) - started
    weights = torch.stack([weight.sum() for weight in gan.ema.parameters()]).sum().item()
    if math.isfinite(d_loss + g_loss + weights):
        run.losses.append(LossPoint(epoch=run.epoch, d_loss=d_loss, g_loss=g_loss))
    else:
        run.diverged_at = run.epoch


def pop_due(epochs: list[int], epoch: float) -> int | None:
    """Remove the epochs that are over from the list and return the last of them; None where none is."""
    past = [each for each in epochs if each <= epoch]
    del epochs[: len(past)]
    return past[-1] if past else None


def clock(device: torch.device) -> float:
    """Clock for time differences, in seconds: CPU time of this process on a CPU, as others may share the cores."""
    return time.perf_counter() if device.type == "cuda" else time.process_time()


@torch.no_grad()
def sample(gan: GANTrainer, count: int) -> tuple[NDArray[np.uint8], float]:
    """Images of seeds 0, 1, 2, ..., uint8 [N, H, W, C], and the number generated a second."""
    z, _ = latents.from_seeds(list(range(count)), gan.latent_dim)
    generator = InferenceGenerator(gan.ema)
    rows = torch.from_numpy(z).to(gan.fabric.device)
    generator(rows[:2])
    started = clock(rows.device)
    images = torch.cat([generator(rows[start : start + BATCH]).cpu() for start in range(0, count, BATCH)]).numpy()
    return images, count / (clock(rows.device) - started)


def write_grid(gan: GANTrainer, path: Path) -> None:
    """Write two rows of fixed seeds as a PNG with a palette, which keeps the report small."""
    images = sample_images(gan.ema, gan.latent_dim, 0)[:GRID_IMAGES]
    grid = contact_sheet(images, GRID_COLUMNS)
    paletted = Image.fromarray(grid[:, :, 0] if grid.shape[2] == 1 else grid).quantize(GRID_COLOURS)
    with atomic_write(path) as part:
        paletted.save(part, "png", optimize=True)


def source_image_ms(params: Params, fabric: Fabric) -> float:
    """Milliseconds to train on one image with the source's own network, on noise: cost matters here, not quality.

    In small batches, since at 64 px a whole one takes half a minute on a core.
    """
    data = params.data
    params = params.model_copy(update={"train": params.train.model_copy(update={"batch": TIMED_BATCH})})
    noise = torch.rand(TIMED_BATCH, data.channels, *data.resolution, device=fabric.device) * 2 - 1
    labels = torch.zeros(TIMED_BATCH, dtype=torch.int64, device=fabric.device)
    gan = GANTrainer(params, None, fabric)
    gan.step(repeat((noise, labels)))["g_loss"].item()
    started = clock(fabric.device)
    for _ in range(TIMED_STEPS):
        gan.step(repeat((noise, labels)))["g_loss"].item()
    return 1000 * (clock(fabric.device) - started) / (TIMED_STEPS * TIMED_BATCH)


def training_data(part: dataset.LabelledImages, device: torch.device) -> TrainingData:
    """Convert images to the tensors of `training.data.batches`."""
    images = torch.from_numpy(np.array(part.images)).permute(0, 3, 1, 2).to(device)
    return TrainingData(images, torch.from_numpy(part.labels).to(device), device)


def hardware(workers: int) -> Hardware:
    """Hardware and thread settings of this process."""
    return Hardware(
        cpu=cpu_model(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        cores=len(os.sched_getaffinity(0)),
        threads=torch.get_num_threads(),
        workers=workers,
        torch=torch.__version__,
    )
