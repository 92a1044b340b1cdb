"""Stage 2: GAN training on the prepared images; an interrupted run resumes from its last checkpoint.

python -m training.train
"""

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor

from serving.errors import MintError
from training import PARENT_PID, paths
from training.data.batches import TrainingData, class_tag_matrix, load_training_data
from training.data.manifest import Manifest, read_manifest
from training.gan.checkpoint import RunFolder, open_run
from training.gan.ema import set_standing_statistics
from training.gan.projected_trainer import make_trainer
from training.gan.start import describe, keep_start, load_start, start_networks
from training.gan.trainer import GANTrainer
from training.gan.training_state import StateDescription
from training.param_sections import Length
from training.params import Params, load_params
from training.reporting import TrainingReport
from training.sample_grids import SampleGrids
from training.stage import run_stage
from training.torch_files import save_with_checksum

LOG_EVERY_IMAGES = 1000


def main() -> None:
    """Train for train.length and save the weights for `export`."""
    params = load_params()
    manifest = read_manifest()
    fabric = make_fabric(params.train.device)
    print(training_notice(params, manifest, fabric.device), flush=True)
    start = load_start(params, manifest)
    data = load_training_data(manifest, fabric.device, params.train.batch)
    gan = make_trainer(params, class_tag_matrix(params, manifest), fabric)
    budget = TrainingBudget.of(params.train.length, data.images_per_epoch(gan.batch_size), gan.images_per_step)
    labels, classes = data.labels.to(fabric.device), manifest.classes if gan.classes else ()
    grids = SampleGrids(gan.ema, gan.latent_dim, classes, labels, gan.batch_size)
    about = describe(gan, manifest, start)
    with open_run(about.run, about.model_dump()) as run:
        resumed = run.latest(budget.covers)
        if start is not None and resumed is None:
            print(start_networks(gan, start, about), flush=True)
            keep_start(params, manifest, start)
        seconds = train(gan, data, budget, run, grids, resumed)
    set_standing_statistics(gan.ema, gan.latent_dim, labels, gan.batch_size)
    grids.save(paths.SAMPLES / "last.png", paths.PROGRESS_GRID)
    save_weights(gan, about)
    summary = f"{gan.images_seen / 1000:.1f} kimg in {seconds / 60:.1f} minutes on {fabric.device}"
    print(f"trained {summary}; sample grids in {paths.SAMPLES}")


def training_notice(params: Params, manifest: Manifest, device: torch.device) -> str:
    """First line of the stage, printed before anything that takes time."""
    length = params.train.length
    return (
        f"training {params.network.name} on {manifest.description} for {length.amount:g} {length.unit} on {device}; "
        "docs/training.md explains the progress lines"
    )


@dataclass(frozen=True)
class TrainingBudget:
    """Length of a run, in steps or in seconds of training."""

    steps: float  # infinite for a length in minutes
    seconds: float  # infinite for any other

    @classmethod
    def of(cls, length: Length, images_per_epoch: int, images_per_step: int) -> "TrainingBudget":
        """Convert a length; epochs and kimg are rounded up to whole steps."""
        if length.unit == "minutes":
            return cls(math.inf, length.amount * 60)
        images = length.amount * (images_per_epoch if length.unit == "epochs" else 1000)
        return cls(math.ceil(images / images_per_step), math.inf)

    def progress(self, steps: int, seconds: float) -> float:
        """Fraction of the budget used, 0..1; exactly 1 at the end."""
        return min(1.0, max(steps / self.steps, seconds / self.seconds))

    def covers(self, state: dict[str, Any]) -> bool:
        """True if a checkpoint's state lies within the budget, so that a run can resume from it."""
        return bool(state["trainer"]["steps"] <= self.steps and state["seconds"] <= self.seconds)


def make_fabric(device: str) -> Fabric:
    """Fabric for a device: bf16 autocast on a GPU that supports it in hardware, float32 elsewhere.

    device: `auto`, `cpu` or `cuda`. Raises MintError for `cuda` without a CUDA GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise MintError("params.yaml: train.device is cuda but torch finds no CUDA GPU; set it to auto or cpu")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.backends.cudnn.benchmark = True  # every batch has the same shape
    else:
        torch.set_flush_denormal(True)  # denormal weights make a CPU many times slower
    return Fabric(accelerator="cuda" if on_gpu else "cpu", devices=1, precision=choose_precision(on_gpu))


def choose_precision(on_gpu: bool) -> Literal["bf16-mixed", "32-true"]:
    """Fabric's name of the training precision: bf16 only with hardware support.

    GPUs before compute capability 8.0 emulate bf16, several times slower than float32.
    """
    if not on_gpu:
        return "32-true"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed"
    print("this GPU has no bfloat16 units: training in float32")
    return "32-true"


def train(
    gan: GANTrainer,
    data: TrainingData,
    budget: TrainingBudget,
    run: RunFolder,
    grids: SampleGrids,
    resumed: dict[str, Any] | None,
) -> float:
    """Train until the budget is used up or a stop is requested. Returns the total seconds of training.

    resumed: the state of the checkpoint to resume from. Raises KeyboardInterrupt after a requested stop.
    """
    params = gan.params.train
    seconds = restore(gan, run, resumed)
    start = time.monotonic() - seconds
    saved_at = gan.steps
    batches = data.batches(gan.steps * gan.batches_per_step, params)
    report = TrainingReport(gan.images_seen, budget.progress(gan.steps, seconds), resumed and resumed["pending"])
    with report, stop_requests() as stop:
        while True:
            seconds = min(time.monotonic() - start, budget.seconds)
            progress = budget.progress(gan.steps, seconds)
            report.show(gan.images_seen, progress)
            if crossed_interval(LOG_EVERY_IMAGES, gan):
                report.log(gan.images_seen)
            stopping = stop.requested or report.output_closed
            ending = progress >= 1 or stopping
            if gan.steps > saved_at and (ending or crossed_interval(params.checkpoint_kimg * 1000, gan)):
                run.save(run_state(gan, seconds, report.pending(gan.images_seen)), params.keep_checkpoints)
                saved_at = gan.steps
            if stopping:
                raise KeyboardInterrupt
            if progress >= 1:
                report.log(gan.images_seen)  # not part of the checkpoint: a longer run would not log here
                return seconds
            report.add(gan.step(batches))
            save_due_grids(grids, gan, data.images_per_epoch(gan.batch_size), report)


def restore(gan: GANTrainer, run: RunFolder, state: dict[str, Any] | None) -> float:
    """Load the state of a checkpoint, if there is one. Returns the seconds of training so far."""
    if state is None:
        paths.PROGRESS_GRID.unlink(missing_ok=True)  # of another run
        return 0.0
    gan.load_state_dict(state["trainer"])
    print(f"resuming from {gan.images_seen / 1000:.1f} kimg in {run.path}", flush=True)
    seconds: float = state["seconds"]
    return seconds


def save_due_grids(grids: SampleGrids, gan: GANTrainer, per_epoch: int, report: TrainingReport) -> None:
    """Save the sample grids that are due after the last step: by epoch for reports/samples, by time to look at."""
    epoch = gan.images_seen // per_epoch
    if crossed_interval(per_epoch, gan) and epoch in gan.params.train.sheet_epochs:
        grids.save(paths.SAMPLES / f"epoch-{epoch:04d}.png")
    first = not grids.progress_saved
    if grids.save_progress() and first:
        report.announce(f"sample grid: {paths.PROGRESS_GRID}, replaced as training goes on")


def crossed_interval(interval: float, gan: GANTrainer) -> bool:
    """True if the last step crossed a multiple of `interval` images."""
    return gan.images_seen // interval > (gan.images_seen - gan.images_per_step) // interval


def run_state(gan: GANTrainer, seconds: float, pending: dict[str, Tensor]) -> dict[str, Any]:
    """State of a run for a checkpoint: tensors and plain values only, as torch.load(weights_only=True) needs."""
    return {"trainer": gan.state_dict(), "images_seen": gan.images_seen, "seconds": seconds, "pending": pending}


def save_weights(gan: GANTrainer, about: StateDescription) -> None:
    """Save the generator's EMA weights for `export`, and the discriminator's for runs that start from them."""
    networks = {"generator": gan.ema, "discriminator": gan.discriminator}
    weights = {
        name: {key: value.cpu() for key, value in network.state_dict().items()} for name, network in networks.items()
    }
    content = weights | {"images_seen": gan.images_seen, "description": about.model_dump()}
    save_with_checksum(content, paths.GENERATOR_WEIGHTS)


class StopRequest:
    """Flag that requests a graceful stop: set by a signal handler, or by the exit of the DVC process that started us.

    A signal to `dvc` alone does not reach its stages: the stage would keep running unseen, and its output would belong
    to no pipeline. So the loss of that parent process requests a stop too.
    """

    def __init__(self) -> None:
        self._signalled = False
        self._under_dvc = "DVC_STAGE" in os.environ

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler: only sets the flag."""
        self._signalled = True

    @property
    def requested(self) -> bool:
        """True if the run should stop after the current step."""
        return self._signalled or (self._under_dvc and os.getppid() != PARENT_PID)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Context in which Ctrl-C, SIGTERM, SIGHUP and the exit of DVC request a stop after the current step.

    Signals that are ignored stay ignored, as nohup expects.
    """
    request = StopRequest()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    handled = {number: handler for number, handler in previous.items() if handler != signal.SIG_IGN}
    for number in handled:
        signal.signal(number, request)
    try:
        yield request
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    run_stage(main)
