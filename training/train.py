"""Stage 2: the prepared images train a generator; run again, an interrupted run goes on where it stopped.

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
from training.data.manifest import read_manifest
from training.gan.checkpoint import RunFolder, fingerprint, open_run
from training.gan.trainer import GANTrainer
from training.param_sections import Length, TrainParams
from training.params import load_params
from training.reporting import TrainingReport, save_sample_grid
from training.stage import run_stage
from training.torch_files import save_with_checksum

SHOW_EVERY_IMAGES = 1000


def main() -> None:
    """Trains to the length asked for and leaves the averaged generator for `export`."""
    params = load_params()
    manifest = read_manifest()
    fabric = make_fabric(params.train.device)
    data = load_training_data(manifest, fabric.device, params.train.batch)
    gan = GANTrainer(params, class_tag_matrix(params, manifest), fabric)
    goal = TrainingBudget.of(params.train.length, data.images_per_epoch(gan.batch_size), gan.images_per_step)
    with open_run(fingerprint(params, manifest)) as run:
        seconds = train(gan, data, goal, run, params.train, run.latest(goal.covers))
    save_sample_grid(gan.ema, gan.latent_dim, gan.classes, "last")
    save_ema_weights(gan)
    took = f"{gan.images_seen / 1000:.1f} kimg in {seconds / 60:.1f} minutes on {fabric.device}"
    print(f"trained {took}; sheets in {paths.SAMPLES}")


@dataclass(frozen=True)
class TrainingBudget:
    """When a run is done: after so many steps, or after so many seconds of training."""

    steps: float  # infinite when seconds decide
    seconds: float

    @classmethod
    def of(cls, length: Length, images_per_epoch: int, images_per_step: int) -> "TrainingBudget":
        """Turns a length into whole steps, rounded up."""
        if length.unit == "minutes":
            return cls(math.inf, length.amount * 60)
        wanted = length.amount * (images_per_epoch if length.unit == "epochs" else 1000)
        return cls(math.ceil(wanted / images_per_step), math.inf)

    def share_done(self, steps: int, seconds: float) -> float:
        """How much of the run is behind, 0..1; exactly 1 when it is done."""
        return min(1.0, max(steps / self.steps, seconds / self.seconds))

    def covers(self, state: dict[str, Any]) -> bool:
        """Whether a run may still pass through the state of a checkpoint."""
        return bool(state["trainer"]["steps"] <= self.steps and state["seconds"] <= self.seconds)


def make_fabric(device: str) -> Fabric:
    """Picks the device and its arithmetic: bf16 autocast on a GPU with units for it, float32 elsewhere.

    Raises MintError when CUDA is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise MintError("params.yaml: train.device is cuda but torch finds no CUDA GPU; set it to auto or cpu")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.backends.cudnn.benchmark = True  # every batch has the same shape
    else:
        torch.set_flush_denormal(True)  # denormal weights slow a CPU down many times over
    return Fabric(accelerator="cuda" if on_gpu else "cpu", devices=1, precision=precision(on_gpu))


def precision(on_gpu: bool) -> Literal["bf16-mixed", "32-true"]:
    """The arithmetic of training, by Fabric's name: bf16 only where it is done in hardware.

    GPUs before compute capability 8.0 emulate it, several times slower than float32.
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
    goal: TrainingBudget,
    run: RunFolder,
    params: TrainParams,
    resumed: dict[str, Any] | None,
) -> float:
    """Plays until the goal is reached or something asks to stop. Returns the seconds of training, all told.

    resumed: the state to go on from.
    """
    seconds = 0.0
    if resumed is not None:
        gan.load_state_dict(resumed["trainer"])
        seconds = resumed["seconds"]
        print(f"going on from {gan.images_seen / 1000:.1f} kimg in {run.path}", flush=True)
    began = time.monotonic() - seconds
    saved_at = gan.steps
    per_epoch = data.images_per_epoch(gan.batch_size)
    batches = data.batches(gan.steps * gan.batches_per_step, params)
    report = TrainingReport(gan.images_seen, resumed and resumed["pending"])
    with report, stop_requests() as stop:
        while True:
            seconds = min(time.monotonic() - began, goal.seconds)
            share_done = goal.share_done(gan.steps, seconds)
            if crossed_interval(SHOW_EVERY_IMAGES, gan):
                report.show(gan.images_seen, share_done)
            stops_here = stop.requested or report.broken_off
            ends_here = share_done >= 1 or stops_here
            if gan.steps > saved_at and (ends_here or crossed_interval(params.checkpoint_kimg * 1000, gan)):
                run.save(run_state(gan, seconds, report.pending(gan.images_seen)), params.keep_checkpoints)
                saved_at = gan.steps
            if stops_here:
                raise KeyboardInterrupt
            if share_done >= 1:
                report.show(gan.images_seen, share_done)  # after the checkpoint: a longer run has no row here
                return seconds
            report.add(gan.step(batches))
            epoch = gan.images_seen // per_epoch
            if crossed_interval(per_epoch, gan) and epoch in params.sheet_epochs:
                save_sample_grid(gan.ema, gan.latent_dim, gan.classes, f"epoch-{epoch:04d}")


def crossed_interval(every_images: float, gan: GANTrainer) -> bool:
    """Whether the last step went past a multiple of so many images."""
    return gan.images_seen // every_images > (gan.images_seen - gan.images_per_step) // every_images


def run_state(gan: GANTrainer, seconds: float, pending: dict[str, Tensor]) -> dict[str, Any]:
    """What a checkpoint holds: plain tensors and numbers, readable with torch.load(weights_only=True)."""
    return {"trainer": gan.state_dict(), "images_seen": gan.images_seen, "seconds": seconds, "pending": pending}


def save_ema_weights(gan: GANTrainer) -> None:
    """Leaves the averaged generator where `export` looks for it."""
    weights = {name: value.cpu() for name, value in gan.ema.state_dict().items()}
    save_with_checksum({"generator": weights, "images_seen": gan.images_seen}, paths.GENERATOR_WEIGHTS)


class StopRequest:
    """Whether the run was asked to end: by a signal, of which the handler only makes a note, or by the end of DVC.

    A signal to `dvc` alone does not reach the stages that it runs. Without DVC the stage would go on unseen, and what
    it trains would belong to no pipeline, so the loss of that parent is a request too.
    """

    def __init__(self) -> None:
        self._signalled = False
        self._under_dvc = "DVC_STAGE" in os.environ

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        self._signalled = True

    @property
    def requested(self) -> bool:
        """Whether the run is to end after the step in progress."""
        return self._signalled or (self._under_dvc and os.getppid() != PARENT_PID)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """While open, Ctrl-C, SIGTERM, a closed terminal and the end of DVC end the run after the step in progress.

    A signal that is ignored stays ignored: that is what nohup asks for.
    """
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    caught = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in caught:
        signal.signal(number, request)
    try:
        yield request
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    run_stage(main)
