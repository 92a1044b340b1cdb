"""One run of a variant: train, look every few epochs, measure at the end, leave the result.

This is the part that needs torch; `run` starts it in worker processes.
"""

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

from benchmarks.experiments import dataset, evaluator
from benchmarks.experiments.job import Job
from benchmarks.experiments.results import SHEETS, EvalPoint, Hardware, Point, SeedResult, write_record
from benchmarks.machine import cpu_model
from serving.encoding.images import contact_sheet
from serving.files import atomic_write
from serving.inference import latents
from training.data.batches import TrainingData
from training.gan.trainer import GANTrainer
from training.networks.inference_wrapper import InferenceGenerator
from training.params import Params
from training.reporting import sample_images
from training.train import TrainingBudget, make_fabric

SHEET_EPOCHS = (1, 10, 50, 100)  # and the last
SHEET_IMAGES = 20
SHEET_COLUMNS = 10
SHEET_COLOURS = 32  # sheets are for looking at, and there are many of them
STRETCHES = 60  # of a run, each one point of its curves
BATCH = 64  # images sampled at a time
TIMED_BATCH, TIMED_STEPS = 4, 2  # of the source's own network


@dataclass
class Run:
    """A game in progress, and what was noted of it."""

    gan: GANTrainer
    epochs: int
    images_per_epoch: int
    looks: list[EvalPoint] = field(default_factory=list)
    curve: list[Point] = field(default_factory=list)
    exploded_at: float | None = None
    seconds: float = 0.0  # of training alone

    @property
    def epoch(self) -> float:
        """How often the data has been seen."""
        return self.gan.images_seen / self.images_per_epoch


def look_epochs(epochs: int) -> tuple[int, ...]:
    """After which epochs a run is looked at: often at first, and after the last."""
    wanted = (1, 2, 3, 5, 7, *range(10, 50, 5), *range(50, 100, 10), *range(100, epochs, 25))
    return (*(epoch for epoch in wanted if epoch < epochs), epochs)


def sheet_epochs(epochs: int) -> tuple[int, ...]:
    """After which epochs sheets are drawn."""
    return (*(epoch for epoch in SHEET_EPOCHS if epoch < epochs), epochs)


def prepare(task: Job) -> None:
    """What all runs with the same pictures share: the classifier, and what real images score."""
    parts = dataset.split(dataset.load(task.pictures), None, task.size.evaluated)
    evaluator.train_evaluator(parts, task.pictures, task.size.classifier_epochs)


def play(task: Job) -> SeedResult:
    """Does the whole of a task. The result file comes last, so that it vouches for the sheets."""
    began, started = time.time(), time.perf_counter()
    size, params = task.size, task.variant.params(task.size, task.seed)
    split = dataset.split(dataset.load(task.pictures), size.images, size.evaluated)
    fabric = make_fabric(params.train.device)
    gan = GANTrainer(params, None, fabric)
    data = training_data(split.training, fabric.device)
    run = Run(gan, size.epochs, data.images_per_epoch(gan.batch_size))
    watch = evaluator.load_evaluator(split, task.pictures, size.classifier_epochs)
    train(run, data, params, watch, size.evaluated, task.result.parent / SHEETS if task.seed == 0 else None)
    images, sampled_per_second = sample(gan, size.evaluated)
    measures, real = evaluator.measure(images, split, task.pictures)
    timed = task.variant.times_source and task.seed == 0 and size is not task.variant.full
    result = SeedResult(
        seed=task.seed,
        images=len(data),
        began=began,
        seconds=time.perf_counter() - started,
        exploded_at=run.exploded_at,
        steps=gan.steps,
        images_seen=gan.images_seen,
        step_ms=1000 * run.seconds / gan.steps,
        images_per_second=gan.images_seen / run.seconds,
        sampled_per_second=sampled_per_second,
        source_image_ms=source_image_ms(task.variant.params(task.variant.full, 0), fabric) if timed else None,
        looks=tuple(run.looks),
        curve=tuple(run.curve),
        measures=measures if run.exploded_at is None else {},
        real=real,
        extractor=evaluator.EXTRACTOR,
        classifier_accuracy=watch.accuracy,
        hardware=hardware(task.workers),
    )
    write_record(result, task.result)
    return result


def train(
    run: Run, data: TrainingData, params: Params, watch: evaluator.Evaluator, looked_at: int, sheets: Path | None
) -> None:
    """Plays to the last epoch, or until a number is none any more; that is a result and no error."""
    gan = run.gan
    steps = int(TrainingBudget.of(params.train.length, run.images_per_epoch, gan.images_per_step).steps)
    batches = data.batches(0, params.train)
    looks, sheets_due = list(look_epochs(run.epochs)), list(sheet_epochs(run.epochs))
    stretch = max(1, steps // STRETCHES)
    while gan.steps < steps and run.exploded_at is None:
        # Up to the next epoch's end at most, as that is where looks are.
        ahead = math.ceil((math.floor(run.epoch) + 1 - run.epoch) * run.images_per_epoch / gan.images_per_step)
        note_stretch(run, batches, min(stretch, max(1, ahead), steps - gan.steps))
        if run.exploded_at is None:
            show = due(looks, run.epoch)
            if show is not None:
                run.looks.append(watch.look(sample(gan, looked_at)[0], show))
            show = due(sheets_due, run.epoch)
            if show is not None and sheets is not None:
                write_sheet(gan, sheets / f"epoch-{show:04d}.png")


def note_stretch(run: Run, batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> None:
    """A few steps: their time, and one point of the curves."""
    gan = run.gan
    losses = []
    started = clock(gan.fabric.device)
    for _ in range(steps):
        scalars = gan.step(batches)
        losses.append(torch.stack([scalars["d_loss"], scalars["g_loss"]]))
    d_loss, g_loss = torch.stack(losses).mean(0).tolist()  # waits for a GPU, so the time is the whole time
    run.seconds += clock(gan.fabric.device) - started
    weights = torch.stack([weight.sum() for weight in gan.ema.parameters()]).sum().item()
    if math.isfinite(d_loss + g_loss + weights):
        run.curve.append(Point(epoch=run.epoch, d_loss=d_loss, g_loss=g_loss))
    else:
        run.exploded_at = run.epoch


def due(epochs: list[int], epoch: float) -> int | None:
    """The last of the epochs that are over, all of which are then struck off; None where none is."""
    over = [one for one in epochs if one <= epoch]
    del epochs[: len(over)]
    return over[-1] if over else None


def clock(device: torch.device) -> float:
    """Seconds to take differences of. On a CPU those that this process worked, since others may keep it waiting."""
    return time.perf_counter() if device.type == "cuda" else time.process_time()


@torch.no_grad()
def sample(gan: GANTrainer, count: int) -> tuple[NDArray[np.uint8], float]:
    """The images of seeds 0, 1, 2, ..., uint8 [N, H, W, C], and how many were made a second."""
    z, _ = latents.from_seeds(list(range(count)), gan.latent_dim)
    served = InferenceGenerator(gan.ema)
    rows = torch.from_numpy(z).to(gan.fabric.device)
    served(rows[:2])
    started = clock(rows.device)
    images = torch.cat([served(rows[start : start + BATCH]).cpu() for start in range(0, count, BATCH)]).numpy()
    return images, count / (clock(rows.device) - started)


def write_sheet(gan: GANTrainer, path: Path) -> None:
    """Two rows of fixed seeds, in few colours so that a page of them stays small."""
    images = sample_images(gan.ema, gan.latent_dim, 0)[:SHEET_IMAGES]
    sheet = contact_sheet(images, SHEET_COLUMNS)
    picture = Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet).quantize(SHEET_COLOURS)
    with atomic_write(path) as part:
        picture.save(part, "png", optimize=True)


def source_image_ms(params: Params, fabric: Fabric) -> float:
    """Milliseconds of training an image with the source's own network, on noise: what a step costs, not what it makes.

    In small batches, since at 64 px a whole one takes half a minute on a core.
    """
    data = params.data
    params = params.model_copy(update={"train": params.train.model_copy(update={"batch": TIMED_BATCH})})
    noise = torch.rand(TIMED_BATCH, data.channels, data.resolution, data.resolution, device=fabric.device) * 2 - 1
    labels = torch.zeros(TIMED_BATCH, dtype=torch.int64, device=fabric.device)
    gan = GANTrainer(params, None, fabric)
    gan.step(repeat((noise, labels)))["g_loss"].item()
    started = clock(fabric.device)
    for _ in range(TIMED_STEPS):
        gan.step(repeat((noise, labels)))["g_loss"].item()
    return 1000 * (clock(fabric.device) - started) / (TIMED_STEPS * TIMED_BATCH)


def training_data(part: dataset.LabelledImages, device: torch.device) -> TrainingData:
    """The images as `training.data.batches` wants them."""
    images = torch.from_numpy(np.array(part.images)).permute(0, 3, 1, 2).to(device)
    return TrainingData(images, torch.from_numpy(part.labels).to(device), device)


def hardware(workers: int) -> Hardware:
    """On what this process runs, without a name that belongs to one machine."""
    return Hardware(
        cpu=cpu_model(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        cores=len(os.sched_getaffinity(0)),
        threads=torch.get_num_threads(),
        workers=workers,
        torch=torch.__version__,
    )
