"""Training loop of one run: steps, curves, probes, checkpoints, sample grids, and what the doctor changes."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

from training import paths
from training.doctor.diagnosis import EXPLOSION, Finding
from training.gan.checkpoint import RunFolder
from training.gan.environment import environment
from training.gan.trainer import Batch, GANTrainer
from training.gan.training_state import load_training_state
from training.healing import Act, Remedy, choose_remedy, usable
from training.monitor import Monitor
from training.reporting import TrainingReport
from training.run_page import write_page
from training.run_setup import Setup
from training.sample_grids import SampleGrids
from training.scalars import ExplosionError
from training.stop import stop_requests

LOG_EVERY_IMAGES = 1000
LATEST_RESTART = 0.5  # of the budget, after which there is too little left to train new or other networks
MIN_PROGRESS = 0.01  # of the budget, before which the speed says nothing about the end


class TrainingLoop:
    """One run, from its newest checkpoint, or its start, to the end of its budget.

    gan: the networks in training; healing may replace them. seconds: of training so far.
    """

    def __init__(self, setup: Setup, run: RunFolder) -> None:
        self._setup, self._run = setup, run
        self._settings = setup.params.train  # those that are read from here are changed by no remedy
        resumed = run.latest(setup.budget.covers)
        self.monitor = Monitor(setup, resumed and resumed["monitor"])
        self.gan, started = setup.started_trainer(self.monitor.params)
        self.seconds, self._pending = 0.0, None
        if resumed is not None:
            self.gan.load_state_dict(resumed["trainer"])
            self.seconds, self._pending = resumed["seconds"], resumed["pending"]
            started = f"resuming from {self._kimg:.1f} kimg in {run.path}"
        if started:
            print(started, flush=True)
        labels = setup.data.labels.to(setup.fabric.device)
        self.grids = SampleGrids(self.gan.ema, self.gan.latent_dim, self._classes, labels, self.gan.batch_size)
        if resumed is None:
            for of_another_run in (paths.PROGRESS_GRID, paths.PROGRESS_PAGE):
                of_another_run.unlink(missing_ok=True)
        self._environment = environment(setup.params, setup.manifest, setup.fabric.device)
        self._saved_at = self.gan.steps
        self._progress = setup.budget.progress(self.gan.steps, self.seconds)
        self._batches = self._remaining_batches()

    def train(self) -> None:
        """Train until the budget is used up or a stop is requested.

        Raises KeyboardInterrupt after a requested stop, and ExplosionError when a loss is not a number and nothing is
        changed against it.
        """
        budget, begun = self._setup.budget, time.monotonic() - self.seconds
        with self._open_report() as report, stop_requests() as stop:
            self._treat_what_the_end_left(report)
            while True:
                self.seconds = min(time.monotonic() - begun, budget.seconds)
                self._progress = budget.progress(self.gan.steps, self.seconds)
                report.show(self.gan.images_seen, self._progress)
                stopping = stop.requested or report.output_closed
                try:
                    self._save_if_due(report, ending=stopping or self._progress >= 1)
                except ExplosionError:
                    if not stopping:  # a resumed run meets it again, at a step that does not depend on the stop
                        self._treat(self.monitor.explode(self.gan), report)
                        continue
                if stopping:
                    raise KeyboardInterrupt
                if self._progress >= 1:
                    self._finish(report)
                    return
                scalars = self.gan.step(self._batches)
                report.add(scalars)
                self.monitor.add(scalars)
                self._save_due_grids(report)
                self._measure(report)

    def _open_report(self) -> TrainingReport:
        tensorboard = self._run.path / "tensorboard" if "tensorboard" in self._settings.loggers else None
        return TrainingReport(self.gan.images_seen, self._progress, self._pending, tensorboard)

    def _measure(self, report: TrainingReport) -> None:
        """Write the row of the curves that is due, and take the probe that is due."""
        try:
            if crossed_interval(LOG_EVERY_IMAGES, self.gan):
                report.log(self.gan.images_seen)
        except ExplosionError:
            self._treat(self.monitor.explode(self.gan), report)
        else:
            if crossed_interval(self._settings.probe_kimg * 1000, self.gan):
                self._probe(report)

    def _save_if_due(self, report: TrainingReport, ending: bool) -> None:
        """Write the checkpoint that is due. Raises ExplosionError on NaN or infinity."""
        gan, monitor = self.gan, self.monitor
        improved = monitor.improved and monitor.probed_at(gan)
        due = ending or improved or crossed_interval(self._settings.checkpoint_kimg * 1000, gan)
        if due and gan.steps > self._saved_at:
            state = {
                "trainer": gan.state_dict(),
                "images_seen": gan.images_seen,
                "seconds": self.seconds,
                "pending": report.pending(),
                "monitor": monitor.state(),
            }
            self._run.save(
                state,
                self._settings.keep_checkpoints,
                description=self._setup.describe(gan).model_dump(),
                environment=self._environment,
            )
            self._saved_at = gan.steps

    def _probe(self, report: TrainingReport) -> None:
        """Take a probe, say what it shows, and treat a failure where params.yaml says so."""
        try:
            self.monitor.probe(self.gan)
        except ExplosionError:
            self.monitor.explode(self.gan)
        report.health = self.monitor.summary(self._end_kimg)
        report.log_probe(self.monitor.rows[-1], self.gan.images_seen)
        self.grids.save_timeline(self._kimg)
        self._treat_last_row(report)

    def _treat_what_the_end_left(self, report: TrainingReport) -> None:
        """Treat what the last probe showed at the end of a run that was shorter, as the longer one would have then."""
        acts = self.monitor.acts
        if self.monitor.probed_at(self.gan) and not (acts and acts[-1].kimg == self._kimg):
            self._treat_last_row(report)

    def _treat_last_row(self, report: TrainingReport) -> None:
        """Treat the failure that the last row shows, or the one that it may show."""
        if (finding := self.monitor.finding()) is not None:
            self._treat(finding, report)
        elif (suspicion := self.monitor.suspicion()) is not None:
            self._treat(suspicion, report, suspected=True)

    def _treat(self, finding: Finding, report: TrainingReport, suspected: bool = False) -> None:
        """Announce a new failure, and change the run under `train.doctor: heal` unless the budget is used up.

        suspected: whether the failure is not certain yet, which is announced only when something is changed.
        Raises ExplosionError for an explosion that nothing is changed against: there is nothing to go on with.
        """
        doctor, progress = self._settings.doctor, self._setup.budget.progress(self.gan.steps, self.seconds)
        early = progress <= LATEST_RESTART
        restart = doctor == "advise" or early
        remedy = None
        if doctor != "watch":
            remedy = choose_remedy(finding, self.gan.params, self.monitor.acts, restart, suspected)
        healing = doctor == "heal" and remedy is not None and progress < 1
        if healing or (self.monitor.newly_found and not suspected):
            report.announce(self.monitor.announcement(finding, remedy, healing))
        if healing and remedy is not None:
            self._heal(finding, remedy, report, early)
            report.discard()
        elif finding.name == EXPLOSION and not suspected:
            self._write_page(paths.RUN_PAGE)
            or_heal = "" if doctor == "heal" else ", or set train.doctor to heal,"
            raise ExplosionError(
                f"training exploded: after {self._kimg:.1f} kimg a loss is not a number; lower train.generator_lr and "
                f"train.discriminator_lr{or_heal} and run again"
            )

    def _heal(self, finding: Finding, remedy: Remedy, report: TrainingReport, early: bool) -> None:
        """Train on with other parameters, from the best checkpoint that is usable, or from the start.

        Other networks get the weights that fit. early: whether there is time to train from the start; without it, any
        checkpoint is better. Images seen go on counting, so that the run ends with its budget; the average of the
        weights only counts those that they were trained on.
        """
        steps, best, state = self.gan.steps, self.monitor.best, None
        if best is not None and (usable(best.kimg, finding) or not early):
            if self.monitor.probed_at(self.gan) and self.monitor.improved:  # the present state is the best
                self._save_if_due(report, ending=False)
            state = self._run.load(best.kimg)
        if state is not None and best is not None and remedy.changes_networks:
            earlier = load_training_state(self._run.file(best.kimg))
            self.gan, taken = self._setup.started_trainer(remedy.params, earlier)
            if self.gan.earlier_images:  # all of the generator
                self.gan.earlier_images += state["trainer"]["earlier_images"]
            state = state if taken else None
        else:
            self.gan, _ = self._setup.started_trainer(remedy.params)
            if state is not None:
                self.gan.load_state_dict(state["trainer"])
        trained_on = self.gan.images_seen + self.gan.earlier_images
        self.gan.steps = steps
        self.gan.earlier_images = trained_on - self.gan.images_seen
        self._batches = self._remaining_batches()
        self.grids.follow(self.gan.ema, self.gan.latent_dim, self._classes)
        back_to = None if state is None else state["images_seen"] / 1000
        self.monitor.note_act(Act(self._kimg, finding.name, finding.since, remedy.rung, remedy.values, back_to))

    def _finish(self, report: TrainingReport) -> None:
        """Last row of the curves and last probe. The checkpoint is without them: a longer run would not have them."""
        report.log(self.gan.images_seen)
        if not self.monitor.probed_at(self.gan):
            self._probe(report)
        self._write_page(paths.RUN_PAGE)

    def _save_due_grids(self, report: TrainingReport) -> None:
        """Save the sample grids that are due: by epoch for reports/samples, by time to look at."""
        per_epoch = self._setup.data.images_per_epoch(self.gan.batch_size)
        epoch = self.gan.images_seen // per_epoch
        if crossed_interval(per_epoch, self.gan) and epoch in self._settings.sheet_epochs:
            self.grids.save(paths.SAMPLES / f"epoch-{epoch:04d}.png")
        first = not self.grids.progress_saved
        if self.grids.save_progress():
            self._write_page(paths.PROGRESS_PAGE)
            if first:
                report.announce(f"sample grid: {paths.PROGRESS_GRID}, replaced as training goes on")
                report.announce(f"curves and advice: {paths.PROGRESS_PAGE}, likewise")

    def _write_page(self, path: Path) -> None:
        """Write the page of the run so far."""
        write_page(path, f"{self.gan.params.network.name} on {self._setup.manifest.description}", self._end_kimg)

    def _remaining_batches(self) -> Iterator[Batch]:
        """Batches of the run from its present step on, augmented as its parameters say now."""
        return self._setup.data.batches(self.gan.steps * self.gan.batches_per_step, self.gan.params.train)

    @property
    def _classes(self) -> tuple[str, ...]:
        """Names of the classes that the networks are told; none where they are told none."""
        return self._setup.manifest.classes if self.gan.classes else ()

    @property
    def _kimg(self) -> float:
        """Thousands of images seen."""
        return self.gan.images_seen / 1000

    @property
    def _end_kimg(self) -> float:
        """Thousands of images at the end of the budget; of a length in minutes, by the speed so far."""
        steps = self._setup.budget.steps
        if math.isfinite(steps):
            return steps * self.gan.images_per_step / 1000
        return self._kimg / max(self._progress, MIN_PROGRESS)


def crossed_interval(interval: float, gan: GANTrainer) -> bool:
    """True if the last step crossed a multiple of `interval` images."""
    return gan.images_seen // interval > (gan.images_seen - gan.images_per_step) // interval
