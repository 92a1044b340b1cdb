"""Training report: curves for DVC, and a progress line.

Curves are outputs of the stage, equal for equal inputs, so they contain no times and no speeds.
"""

import math
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dvclive.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from torch import Tensor

from training import paths
from training.scalars import ExplosionError, StepScalars

FIRST_LINE_SECONDS = 5.0  # from the start of training to the first progress line
LINE_INTERVAL_SECONDS = 15.0  # between progress lines where there is no terminal
REFRESH_SECONDS = 1.0  # between progress lines in a terminal
MAX_SILENCE_SECONDS = 20.0  # without a terminal: a longer step is reported while it runs


class TrainingReport:
    """Averages and logs the scalars of the training steps; use as a context manager.

    images_seen, progress: when this process starts to train; progress is 0..1 of the run's budget. pending: for a
    resumed run, the scalars of the steps since the last row of its curves, which are in reports/train. tensorboard:
    folder for its event files, which hold times and so are no output of the stage; None for none.
    """

    def __init__(
        self,
        images_seen: int,
        progress: float,
        pending: dict[str, Tensor] | None = None,
        tensorboard: Path | None = None,
    ) -> None:
        self._live: Any = Live(dir=str(paths.TRAIN_REPORT), resume=True, dvcyaml=None, save_dvc_exp=False, report=None)
        # dvclive cannot tell a run with one row, step 0, from an empty one, and would write step 0 again.
        self._live.step = self._live.summary.get("step", -1) + 1
        self._events = open_events(tensorboard, images_seen) if tensorboard else None
        self._display = ProgressDisplay()
        self._started = self._shown_at = time.monotonic()
        self._next_line = self._started + FIRST_LINE_SECONDS
        self._images_shown = images_seen
        self._initial_progress = progress
        self._since_row = StepScalars(pending)
        self._since_line = StepScalars()
        self._recent_means: dict[str, float] = {}
        self.health = ""  # of the last probe, for the progress line

    @property
    def output_closed(self) -> bool:
        """True once the terminal or pipe that shows the progress is gone."""
        return self._display.closed

    def __enter__(self) -> Self:
        self._live.__enter__()
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()
        if self._events is not None:
            self._events.close()
        self._live.__exit__(kind, error, trace)

    def add(self, scalars: dict[str, Tensor]) -> None:
        """Collect one step's scalars, left on their device, for the next row and the next line."""
        self._since_row.add(scalars)
        self._since_line.add(scalars)
        self._display.step_ended()

    def discard(self) -> None:
        """Forget the scalars since the last row and the last line, of weights that are trained no longer."""
        self._since_row.clear()
        self._since_line.clear()

    def pending(self) -> dict[str, Tensor]:
        """Scalars of the steps since the last row of the curves: name -> float [steps], on the CPU.

        Checkpoints contain them, so that the curves of a resumed run equal those of an uninterrupted one. Raises
        ExplosionError on NaN or infinity, which must not be saved.
        """
        return self._since_row.stacked()

    def log(self, images_seen: int) -> None:
        """Average the collected scalars and append them to the curves as one row.

        Raises ExplosionError on NaN or infinity.
        """
        means = self._since_row.means()
        if not means:
            return
        self._since_row.clear()
        for name, value in means.items():
            self._live.log_metric(name, value)
        self._live.log_metric("kimg", images_seen / 1000, plot=False)
        self._live.next_step()
        self._log_events("train", means, images_seen)

    def log_probe(self, row: Mapping[str, float], images_seen: int) -> None:
        """Write a row of measurements to TensorBoard's event files, if there are any."""
        self._log_events("probe", row, images_seen)

    def _log_events(self, group: str, values: Mapping[str, float], images_seen: int) -> None:
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(f"{group}/{name}", value, images_seen)

    def show(self, images_seen: int, progress: float) -> None:
        """Show a progress line if it is time for one, and always at the end.

        progress: 0..1 of the run's budget.
        """
        now = time.monotonic()
        if now < self._next_line and progress < 1:
            return
        if self._since_line:
            with suppress(ExplosionError):  # `log` raises it, at a step that does not depend on the time
                self._recent_means = self._since_line.means()
            self._since_line.clear()
        if not self._recent_means:  # the run was complete before this process started
            return
        speed = (images_seen - self._images_shown) / (now - self._shown_at)
        line = _format_line(self._recent_means, speed, images_seen, self._seconds_left(now, progress))
        if self.health:
            line += f"  {self.health}"
        self._display.show(line, progress)
        self._shown_at, self._images_shown = now, images_seen
        self._next_line = now + (REFRESH_SECONDS if self._display.in_place else LINE_INTERVAL_SECONDS)

    def announce(self, text: str) -> None:
        """Print a line of its own, such as the name of a file."""
        self._display.print(text)

    def _seconds_left(self, now: float, progress: float) -> float:
        """Estimate from the progress that this process has made so far; NaN without any."""
        done_here = progress - self._initial_progress
        return (now - self._started) * (1 - progress) / done_here if done_here > 0 else math.nan


def open_events(folder: Path, images_seen: int) -> Any:
    """Writer of TensorBoard's event files, whose steps are images seen; later ones, of a killed process, are hidden."""
    from torch.utils.tensorboard import SummaryWriter  # deferred: it takes seconds, and few want it

    return SummaryWriter(str(folder), purge_step=images_seen + 1)


def _format_line(means: dict[str, float], speed: float, images_seen: int, seconds_left: float) -> str:
    return (  # fits a terminal of 80 columns beside the percentage
        f"{images_seen / 1000:.1f} kimg  {speed:.{0 if speed >= 10 else 1}f} img/s"
        f"  loss D {means['d_loss']:.2f} G {means['g_loss']:.2f}"
        f"  D(x) {means['d_real']:.2f} D(G(z)) {means['d_fake']:.2f}  {_format_seconds(seconds_left)} left"
    )


def _format_seconds(seconds: float) -> str:
    """Format a duration as m:ss, or as h:mm:ss from an hour on."""
    if math.isnan(seconds):
        return "--:--"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class ProgressDisplay:
    """Progress line: in place, beside a bar, in a terminal; a new line each time elsewhere.

    A thread reports a step that takes long, so that a slow run can be told from one that hangs.

    max_silence: seconds without a line after which the thread reports.
    """

    def __init__(self, max_silence: float = MAX_SILENCE_SECONDS) -> None:
        self.in_place = sys.stdout.isatty()
        self.closed = False  # True once the terminal or pipe is gone
        self._max_silence = max_silence
        self._bar = Progress(TaskProgressColumn(), TextColumn("{task.description}"), BarColumn(None), expand=True)
        self._task = self._bar.add_task("first step", total=1.0)
        self._shown_at = self._step_ended_at = time.monotonic()
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._report_long_steps, daemon=True)

    def start(self) -> None:
        """Show the bar, in a terminal, and start the thread."""
        self._shown_at = self._step_ended_at = time.monotonic()
        if self.in_place:
            self._bar.start()
        self._watcher.start()

    def stop(self) -> None:
        """Undo `start`."""
        self._stopped.set()
        self._watcher.join()
        if self.in_place:
            with suppress(OSError):  # the terminal was closed
                self._bar.stop()

    def step_ended(self) -> None:
        """Note the end of a training step."""
        self._step_ended_at = time.monotonic()

    def show(self, line: str, progress: float | None = None) -> None:
        """Show the progress line. progress: 0..1, the length of the bar; None leaves it as it is."""
        if self.in_place:
            with self._closure_detected():
                self._bar.update(self._task, completed=progress, description=line)
                self._shown_at = time.monotonic()
        else:
            self.print(line)

    def print(self, text: str) -> None:
        """Print a line that stays, above the bar if there is one."""
        with self._closure_detected():
            print(text, flush=True)
            self._shown_at = time.monotonic()

    def _report_long_steps(self) -> None:
        while not self._stopped.wait(min(1.0, self._max_silence)):
            now = time.monotonic()
            if now - self._shown_at >= self._max_silence:
                self.show(f"this training step has taken {now - self._step_ended_at:.0f} s so far")

    @contextmanager
    def _closure_detected(self) -> Iterator[None]:
        try:
            yield
        except OSError:  # the terminal was closed, or the reader of the pipe has exited
            self.closed = True
