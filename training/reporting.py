"""What a person sees of a run: a progress line, curves for DVC, and sheets of fixed seeds.

Curves and sheets are outputs like the weights: the same for equal inputs, so they hold no time and no speed.
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

SHEET_ROWS = 8  # at most
SHEET_COLUMNS = 10
PLAIN_SECONDS = 15.0  # between lines where there is no terminal to redraw


class TrainingReport:
    """Averages the scalars of each step and shows them; use as a context manager.

    images_seen: where the run stands when it starts. pending: the scalars of the steps since the last row of its
    curves, for a run that goes on; its curves lie in reports/train.
    """

    def __init__(self, images_seen: int, pending: dict[str, Tensor] | None = None) -> None:
        self._live: Any = Live(dir=str(paths.TRAIN_REPORT), resume=True, dvcyaml=None, save_dvc_exp=False, report=None)
        # dvclive takes a run that has one row, of step 0, for one that has none, and would write step 0 again.
        self._live.step = self._live.summary.get("step", -1) + 1
        self.broken_off = False  # whether nobody can read the progress any more
        self._bar = Progress(TaskProgressColumn(), TextColumn("{task.description}"), BarColumn(None), expand=True)
        self._task = self._bar.add_task("starting", total=1.0)
        self._started = self._window = time.monotonic()
        self._last_line = self._started - PLAIN_SECONDS
        self._images_at_window = images_seen
        self._share_at_start: float | None = None
        self._before = pending or {}
        self._pending: list[dict[str, Tensor]] = []

    def __enter__(self) -> Self:
        self._live.__enter__()
        if sys.stdout.isatty():
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if sys.stdout.isatty():
            with suppress(OSError):  # a terminal that was closed
                self._bar.stop()
        self._live.__exit__(kind, error, trace)

    def add(self, scalars: dict[str, Tensor]) -> None:
        """Keeps one step's scalars for the next `show`, still on their device."""
        self._pending.append(scalars)

    def pending(self, images_seen: int) -> dict[str, Tensor]:
        """The scalars of the steps since the last row of the curves: name -> float [steps], on the CPU.

        A checkpoint holds them, so that a stop leaves no trace in the curves. Raises MintError when a loss is not a
        number, which must not be saved.
        """
        scalars = dict(self._before)
        for name in self._pending[0] if self._pending else ():
            added = torch.stack([step[name] for step in self._pending]).cpu()
            scalars[name] = torch.cat([scalars[name], added]) if name in scalars else added
        if not all(bool(torch.isfinite(values).all()) for values in scalars.values()):
            raise MintError(
                f"training exploded: after {images_seen / 1000:.1f} kimg a loss is not a number; "
                "lower train.generator_lr and train.discriminator_lr and run again"
            )
        return scalars

    def show(self, images_seen: int, share_done: float) -> None:
        """Averages what was added, writes it to the curves as one row and redraws the progress line.

        share_done: 0..1 of the length asked for. Raises MintError when a loss is not a number.
        """
        means = {name: values.mean().item() for name, values in self.pending(images_seen).items()}
        if not means:
            return
        self._before = {}
        self._pending.clear()
        now = time.monotonic()
        rate = (images_seen - self._images_at_window) / (now - self._window)
        self._window, self._images_at_window = now, images_seen
        for name, value in means.items():
            self._live.log_metric(name, value)
        self._live.log_metric("kimg", images_seen / 1000, plot=False)
        self._live.next_step()
        self._draw(self._line(means, rate, images_seen, self._time_left(now, share_done)), share_done, now)

    def _time_left(self, now: float, share_done: float) -> float:
        """Seconds, from the share of the length that this process has done so far."""
        if self._share_at_start is None:
            self._share_at_start, self._started = share_done, now
        done_here = share_done - self._share_at_start
        return (now - self._started) * (1 - share_done) / done_here if done_here > 0 else math.nan

    @staticmethod
    def _line(means: dict[str, float], rate: float, images_seen: int, seconds_left: float) -> str:
        left = "--:--" if math.isnan(seconds_left) else f"{int(seconds_left) // 60}:{int(seconds_left) % 60:02d}"
        return (  # short enough for a terminal of 80 columns, beside the percentage
            f"{images_seen / 1000:.1f} kimg  {rate:.0f} img/s  loss D {means['d_loss']:.2f} G {means['g_loss']:.2f}"
            f"  D(x) {means['d_real']:.2f} D(G(z)) {means['d_fake']:.2f}  {left} left"
        )

    def _draw(self, line: str, share_done: float, now: float) -> None:
        try:
            self._print(line, share_done, now)
        except OSError:  # the terminal was closed, or what read the pipe has ended
            self.broken_off = True

    def _print(self, line: str, share_done: float, now: float) -> None:
        if sys.stdout.isatty():
            self._bar.update(self._task, completed=share_done, description=line)
        elif now - self._last_line >= PLAIN_SECONDS or share_done >= 1:
            print(line, flush=True)
            self._last_line = now


def save_sample_grid(generator: nn.Module, latent_dim: int, classes: int, name: str) -> None:
    """Draws the fixed seeds 0, 1, 2, ... into reports/samples/<name>.png: a row a class where there are classes.

    generator: the averaged generator, in evaluation mode, on any device.
    """
    images = sample_images(generator, latent_dim, classes)
    with atomic_write(paths.SAMPLES / f"{name}.png") as path:
        path.write_bytes(encode(contact_sheet(images, SHEET_COLUMNS), "png"))


@torch.no_grad()
def sample_images(generator: nn.Module, latent_dim: int, classes: int) -> NDArray[np.uint8]:
    """The sheet's images uint8 [N, H, W, C]; every class shows the same seeds, so that columns compare."""
    rows = min(classes, SHEET_ROWS + 2) if classes else SHEET_ROWS
    seeds = list(range(SHEET_COLUMNS)) * rows if classes else list(range(SHEET_COLUMNS * rows))
    z, _ = latents.from_seeds(seeds, latent_dim)
    label = torch.arange(rows).repeat_interleave(SHEET_COLUMNS) if classes else None
    device = next(generator.parameters()).device
    served = InferenceGenerator(generator)
    images: NDArray[np.uint8] = (
        served(torch.from_numpy(z).to(device), None if label is None else label.to(device)).cpu().numpy()
    )
    return images
