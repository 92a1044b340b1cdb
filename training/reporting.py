"""Training report: a progress line, curves for DVC, and sample grids of fixed seeds.

Curves and sample grids are outputs of the stage, equal for equal inputs, so they contain no times and no speeds.
"""

import math
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from dvclive.live import Live
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from torch import Tensor, nn

from serving.encoding.images import contact_sheet, encode
from serving.errors import MintError
from serving.files import atomic_write
from serving.inference import latents
from training import paths
from training.networks.inference_wrapper import InferenceGenerator

GRID_ROWS, GRID_COLUMNS = 8, 10
MAX_CLASS_ROWS = 10  # one row per class, in place of GRID_ROWS
LINE_INTERVAL_SECONDS = 15.0  # between progress lines where there is no terminal


class TrainingReport:
    """Averages and logs the scalars of the training steps; use as a context manager.

    images_seen: when this process starts. pending: for a resumed run, the scalars of the steps since the last row
    of its curves, which are in reports/train.
    """

    def __init__(self, images_seen: int, pending: dict[str, Tensor] | None = None) -> None:
        self._live: Any = Live(dir=str(paths.TRAIN_REPORT), resume=True, dvcyaml=None, save_dvc_exp=False, report=None)
        # dvclive cannot tell a run with one row, step 0, from an empty one, and would write step 0 again.
        self._live.step = self._live.summary.get("step", -1) + 1
        self.output_closed = False  # True once the terminal or pipe that shows the progress is gone
        self._bar = Progress(TaskProgressColumn(), TextColumn("{task.description}"), BarColumn(None), expand=True)
        self._task = self._bar.add_task("starting", total=1.0)
        self._started = self._logged_at = time.monotonic()
        self._last_line = self._started - LINE_INTERVAL_SECONDS
        self._images_logged = images_seen
        self._initial_progress: float | None = None
        self._resumed_scalars = pending or {}
        self._scalars: list[dict[str, Tensor]] = []

    def __enter__(self) -> Self:
        self._live.__enter__()
        if sys.stdout.isatty():
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if sys.stdout.isatty():
            with suppress(OSError):  # the terminal was closed
                self._bar.stop()
        self._live.__exit__(kind, error, trace)

    def add(self, scalars: dict[str, Tensor]) -> None:
        """Collect one step's scalars for the next `log`, left on their device."""
        self._scalars.append(scalars)

    def pending(self, images_seen: int) -> dict[str, Tensor]:
        """Scalars of the steps since the last row of the curves: name -> float [steps], on the CPU.

        Checkpoints contain them, so that the curves of a resumed run equal those of an uninterrupted one. Raises
        MintError on NaN or infinity, which must not be saved.
        """
        scalars = dict(self._resumed_scalars)
        for name in self._scalars[0] if self._scalars else ():
            added = torch.stack([step[name] for step in self._scalars]).cpu()
            scalars[name] = torch.cat([scalars[name], added]) if name in scalars else added
        if not all(bool(torch.isfinite(values).all()) for values in scalars.values()):
            raise MintError(
                f"training exploded: after {images_seen / 1000:.1f} kimg a loss is not a number; "
                "lower train.generator_lr and train.discriminator_lr and run again"
            )
        return scalars

    def log(self, images_seen: int, progress: float) -> None:
        """Average the collected scalars, append them to the curves as one row and update the progress line.

        progress: 0..1 of the run's budget. Raises MintError on NaN or infinity.
        """
        means = {name: values.mean().item() for name, values in self.pending(images_seen).items()}
        if not means:
            return
        self._resumed_scalars = {}
        self._scalars.clear()
        now = time.monotonic()
        images_per_second = (images_seen - self._images_logged) / (now - self._logged_at)
        self._logged_at, self._images_logged = now, images_seen
        for name, value in means.items():
            self._live.log_metric(name, value)
        self._live.log_metric("kimg", images_seen / 1000, plot=False)
        self._live.next_step()
        line = self._format_line(means, images_per_second, images_seen, self._seconds_left(now, progress))
        self._show(line, progress, now)

    def _seconds_left(self, now: float, progress: float) -> float:
        """Estimate from the progress that this process has made so far; NaN at first."""
        if self._initial_progress is None:
            self._initial_progress, self._started = progress, now
        done_here = progress - self._initial_progress
        return (now - self._started) * (1 - progress) / done_here if done_here > 0 else math.nan

    @staticmethod
    def _format_line(means: dict[str, float], speed: float, images_seen: int, seconds_left: float) -> str:
        left = "--:--" if math.isnan(seconds_left) else f"{int(seconds_left) // 60}:{int(seconds_left) % 60:02d}"
        return (  # fits a terminal of 80 columns beside the percentage
            f"{images_seen / 1000:.1f} kimg  {speed:.0f} img/s  loss D {means['d_loss']:.2f} G {means['g_loss']:.2f}"
            f"  D(x) {means['d_real']:.2f} D(G(z)) {means['d_fake']:.2f}  {left} left"
        )

    def _show(self, line: str, progress: float, now: float) -> None:
        try:
            self._print(line, progress, now)
        except OSError:  # the terminal was closed, or the reader of the pipe has exited
            self.output_closed = True

    def _print(self, line: str, progress: float, now: float) -> None:
        if sys.stdout.isatty():
            self._bar.update(self._task, completed=progress, description=line)
        elif now - self._last_line >= LINE_INTERVAL_SECONDS or progress >= 1:
            print(line, flush=True)
            self._last_line = now


def save_sample_grid(generator: nn.Module, latent_dim: int, classes: int, name: str) -> None:
    """Save the images of seeds 0, 1, 2, ... as reports/samples/<name>.png: one row per class where there are classes.

    generator: the EMA generator, in evaluation mode, on any device.
    """
    images = sample_images(generator, latent_dim, classes)
    with atomic_write(paths.SAMPLES / f"{name}.png") as path:
        path.write_bytes(encode(contact_sheet(images, GRID_COLUMNS), "png"))


@torch.no_grad()
def sample_images(generator: nn.Module, latent_dim: int, classes: int) -> NDArray[np.uint8]:
    """Images of the sample grid, uint8 [N, H, W, C]; every class has the same seeds, so that columns compare."""
    rows = min(classes, MAX_CLASS_ROWS) if classes else GRID_ROWS
    seeds = list(range(GRID_COLUMNS)) * rows if classes else list(range(GRID_COLUMNS * rows))
    z, _ = latents.from_seeds(seeds, latent_dim)
    label = torch.arange(rows).repeat_interleave(GRID_COLUMNS) if classes else None
    device = next(generator.parameters()).device
    inference = InferenceGenerator(generator)
    images: NDArray[np.uint8] = (
        inference(torch.from_numpy(z).to(device), None if label is None else label.to(device)).cpu().numpy()
    )
    return images
