"""Monitor of a run in training: its probes, their rows on disk, the best of them, and what the doctor makes of them.

reports/train/probes.jsonl has a row for every probe, events.jsonl what happened: diagnoses, and what was changed. Both
are restored with a checkpoint, so a resumed run is diagnosed as one that was never stopped.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from training import paths
from training.doctor.diagnosis import HEALTHY, Finding, diagnose
from training.doctor.forecast import forecast
from training.doctor.trace import POSITION, Row, Trace
from training.gan.trainer import GANTrainer
from training.healing import Act, Remedy
from training.json_lines import append_line, read_lines
from training.param_file import format_value
from training.params import Params, changed_params
from training.probes import Probes
from training.run_setup import Setup
from training.scalars import StepScalars

SUSPECTED = 0.5  # of the time that the sign of a failure has to last, after which it is suspected
SIGNIFICANT_DIGITS = 6  # of a measurement in a file
KID_NOISE = 2.0  # standard deviations of the KID over its subsets: a smaller difference may be chance
EXPLODED = "exploded"  # measurement of a row: 1 after a loss that is not a number


@dataclass(frozen=True)
class Best:
    """The probe with the lowest KID so far, at which a checkpoint is saved."""

    kimg: float
    kid: float


class Monitor:
    """Monitor of one run. saved: what `state` returned, of the checkpoint that the run resumes from."""

    def __init__(self, setup: Setup, saved: dict[str, Any] | None = None) -> None:
        saved = saved or {"window": None, "best": None, "acts": [], "finding": None}
        self._window = StepScalars(saved["window"])
        self._probes = Probes(setup.data, len(setup.manifest.classes), setup.params.data.background)
        self._setup = setup
        self.rows: list[Row] = [*read_lines(paths.PROBES)]
        self.best = Best(**saved["best"]) if saved["best"] else None
        self.acts = [Act(**act) for act in saved["acts"]]
        self._finding: str | None = saved["finding"]
        self.newly_found = False  # True if the last row has shown another failure than the one before

    @property
    def params(self) -> Params:
        """Parameters of the run after everything that was changed."""
        params = self._setup.params
        for act in self.acts:
            params = changed_params(params, act.values)
        return params

    def add(self, scalars: dict[str, Tensor]) -> None:
        """Collect one step's scalars for the next row."""
        self._window.add(scalars)

    def probe(self, gan: GANTrainer) -> None:
        """Take a probe at the present step, write its row, and diagnose the run.

        Raises ExplosionError when a scalar is NaN or infinite.
        """
        row = probe_row(gan, self._window, self._probes)
        self._write(row)
        if self.best is None or row["kid"] < self.best.kid:
            self.best = Best(row[POSITION], row["kid"])
        self._diagnose()

    def explode(self, gan: GANTrainer) -> Finding:
        """Write the row of a run whose scalars are not numbers any more, and diagnose it."""
        self._window.clear()
        self._write(exploded_row(gan))
        finding = self._diagnose()
        assert finding is not None  # an explosion needs no second row
        return finding

    @property
    def improved(self) -> bool:
        """True if the last probe is the best one."""
        return self.best is not None and self.best.kimg == self.rows[-1][POSITION]

    @property
    def clearly_worse_than_best(self) -> bool:
        """True if the last KID is above the best one by more than the noise of both."""
        last = self.rows[-1] if self.rows else {}
        if self.best is None or not math.isfinite(last.get("kid", math.nan)):
            return self.best is not None
        return last["kid"] - self.best.kid > KID_NOISE * last["kid_std"]

    def summary(self, end_kimg: float) -> str:
        """Few words on the last row, and on the KID to expect at the end of the run, for the progress line."""
        words = self._finding or HEALTHY
        if (kid := self.rows[-1].get("kid")) is not None:
            words += f"  KID {kid:.3f}"
        expected = forecast(Trace(current_rows(self.rows, self.acts)), end_kimg)
        return words if expected is None else f"{words}, {expected.low:.3f} to {expected.high:.3f} at the end"

    def probed_at(self, gan: GANTrainer) -> bool:
        """True if the last probe was taken at the present step."""
        return bool(self.rows) and self.rows[-1][POSITION] == position(gan)

    def announcement(self, finding: Finding, remedy: Remedy | None, healing: bool) -> str:
        """One line on a failure: since when, how sure, by what measurements, and what is or can be done."""
        what = f"{finding.name} since {finding.since:g} kimg (confidence {finding.confidence:.0%})"
        line = f"doctor: {what}: {', '.join(finding.evidence)}"
        if remedy is None:
            return line
        changes = ", ".join(f"{key}: {format_value(value)}" for key, value in remedy.values.items())
        if healing:
            return f"{line}; healing: {changes or 'the same once more'}"
        return f"{line}; try {changes}" if changes else line

    def note_act(self, act: Act) -> None:
        """Note that the run was changed."""
        self.acts.append(act)
        self._finding = None
        if act.back_to is None or act.changed_networks:
            self.best = None  # of networks that are gone
        self._window.clear()
        append_line(paths.EVENTS, {"event": "act"} | asdict(act))

    def state(self) -> dict[str, Any]:
        """Everything that resuming needs, besides the rows. Raises ExplosionError on NaN or infinity."""
        return {
            "window": self._window.stacked(),
            "best": self.best and asdict(self.best),
            "acts": [asdict(act) for act in self.acts],
            "finding": self._finding,
        }

    def _write(self, row: Row) -> None:
        self.rows.append(row)
        append_line(paths.PROBES, row)

    def finding(self) -> Finding | None:
        """What the rows show of the weights that are trained now."""
        return diagnose(Trace(current_rows(self.rows, self.acts)))

    def suspicion(self) -> Finding | None:
        """What the rows may show, without being certain yet."""
        return diagnose(Trace(current_rows(self.rows, self.acts)), SUSPECTED)

    def _diagnose(self) -> Finding | None:
        finding = self.finding()
        name = finding.name if finding else None
        self.newly_found = name != self._finding
        if self.newly_found:
            event = {"event": "diagnosis"} | (asdict(finding) if finding else {"name": "healthy"})
            append_line(paths.EVENTS, {POSITION: self.rows[-1][POSITION]} | event)
        self._finding = name
        return finding


def current_rows(rows: Sequence[Row], acts: Sequence[Act]) -> list[Row]:
    """Rows of the networks of now, without those of a failure that was acted on: the act gets the time of a new one.

    Rows between a checkpoint and the act that went back to it are of weights that are gone.
    """
    kept = list(rows)
    for act in acts:
        went_back_to = 0.0 if act.changed_networks else act.back_to or 0.0
        kept = [
            row
            for row in kept
            if row[POSITION] > act.kimg or (row[POSITION] <= went_back_to and row[POSITION] < act.since)
        ]
    return kept


def probe_row(gan: GANTrainer, window: StepScalars, probes: Probes) -> dict[str, float]:
    """Row of measurements at the present step: means of the scalars since the last row, and the probes.

    Clears the window. Raises ExplosionError when a scalar is NaN or infinite.
    """
    measured = window.statistics() | probes.measure(gan)
    window.clear()
    rounded = {name: float(f"{value:.{SIGNIFICANT_DIGITS}g}") for name, value in measured.items()}
    return {POSITION: position(gan)} | rounded


def exploded_row(gan: GANTrainer) -> dict[str, float]:
    """Row of a run whose scalars are not numbers any more."""
    return {POSITION: position(gan), EXPLODED: 1.0}


def position(gan: GANTrainer) -> float:
    """Thousands of images seen."""
    return gan.images_seen / 1000
