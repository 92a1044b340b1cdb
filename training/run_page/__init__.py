"""Page of a training run, reports/train/index.html: curves, probes, sample grids over time, events, and next steps.

One file that requests nothing: it works offline and wherever it is copied.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.files import atomic_write
from training import paths
from training.doctor.advice import ADVICE
from training.doctor.outlook import outlook
from training.doctor.trace import POSITION, Trace, overfitting
from training.json_lines import read_lines
from training.pages import data_url, environment
from training.pages.charts import COLOURS, Chart, Curve, draw_svg, loss_range

TEMPLATES = Path(__file__).parent / "templates"
CHART_SIZE = (620, 220)  # pixels
SHARES = {"diversity": "diversity", "rank": "effective rank", "recall": "recall"}
OTHERS = {"r_v": "overfitting of D (r_v)", "d_class_accuracy": "classes that D recognises", "copies": "near-copies"}


@dataclass(frozen=True)
class Picture:
    """An image within the page. url: a data URL."""

    url: str
    alt: str
    width: int = CHART_SIZE[0]
    height: int = CHART_SIZE[1]


@dataclass(frozen=True)
class Grid:
    """A sample grid and when it was made."""

    kimg: float
    url: str


@dataclass(frozen=True)
class Event:
    """Something that happened: what, when, and the details."""

    kimg: float
    title: str
    details: str


@dataclass(frozen=True)
class RunPage:
    """All that the page shows."""

    title: str
    subject: str  # what is trained on what
    kimg: float
    state: str  # diagnosis
    next_steps: list[str]
    charts: list[Picture]
    grids: list[Grid]
    events: list[Event]


def write_page(path: Path, subject: str, end_kimg: float) -> None:
    """Write the page of the run in reports/. subject: what is trained on what; end_kimg: where its budget ends."""
    content = collect(subject, end_kimg)
    page = environment(TEMPLATES).get_template("run.html.j2").render(run=content)
    with atomic_write(path) as part:
        part.write_text(page)


def collect(subject: str, end_kimg: float) -> RunPage:
    """Read the files of the run in reports/."""
    trace = Trace(read_lines(paths.PROBES))
    events = [to_event(event) for event in read_lines(paths.EVENTS)]
    now = float(trace.kimg[-1]) if len(trace) else 0.0
    view = outlook(trace, end_kimg)
    return RunPage(
        title="Training run",
        subject=subject,
        kimg=now,
        state=view.state,
        next_steps=view.next_steps,
        charts=list(draw_charts(trace, [event.kimg for event in events], max(end_kimg, now))),
        grids=read_grids(),
        events=events,
    )


def to_event(event: dict[str, Any]) -> Event:
    """An event as it is shown."""
    if event["event"] == "act":
        changes = ", ".join(f"{key} = {value}" for key, value in event["values"].items())
        weights = "new weights" if event["back_to"] is None else f"the weights of {event['back_to']:g} kimg"
        details = f"went on from {weights}" + (f", and set {changes}" if changes else "")
        return Event(event[POSITION], f"healed: {event['failure']}", details)
    if event["name"] not in ADVICE:
        return Event(event[POSITION], event["name"], "")
    details = f"{ADVICE[event['name']].meaning}: {', '.join(event['evidence'])}"
    return Event(event[POSITION], f"{event['name']} (confidence {event['confidence']:.0%})", details)


def read_grids() -> list[Grid]:
    """Sample grids by time, the oldest first."""
    files = sorted(paths.SAMPLES.glob("kimg-*.jpg"))
    return [Grid(float(file.stem.removeprefix("kimg-")), data_url(file.read_bytes(), "image/jpeg")) for file in files]


def draw_charts(trace: Trace, events: list[float], end: float) -> list[Picture]:
    """Charts of the probes and of the losses, with a mark at each event. end: kimg at the right end."""
    charts = []
    axis = (0.0, end)
    kid = points(trace, "kid")
    if kid:
        top = 1.1 * max(value for _, value in kid)
        charts.append(
            ("KID of the probes", Chart([Curve(kid, COLOURS[0], "KID")], "kimg", axis, (0.0, top), "KID", events))
        )
    for title, names, label in (
        ("variety of the images", SHARES, "share of real images'"),
        ("discriminator and copies", OTHERS, ""),
    ):
        curves = [
            Curve(points(trace, name), colour, text)
            for (name, text), colour in zip(names.items(), COLOURS, strict=True)
            if points(trace, name)
        ]
        if curves:
            top = max(1.0, *(value for curve in curves for _, value in curve.points))
            charts.append((title, Chart(curves, "kimg", axis, (0.0, 1.1 * top), label, events)))
    losses = [read_curve(name, end) for name in ("d_loss", "g_loss")]
    curves = [
        Curve(line, colour, name)
        for line, colour, name in zip(losses, COLOURS, ("loss of D", "loss of G"), strict=False)
    ]
    charts.append(("losses", Chart(curves, "kimg", axis, loss_range(losses), "loss", events)))
    scores = [read_curve(name, end) for name in ("d_real", "d_fake")]
    curves = [
        Curve(line, colour, name) for line, colour, name in zip(scores, COLOURS, ("D(x)", "D(G(z))"), strict=False)
    ]
    charts.append(("what D says", Chart(curves, "kimg", axis, (0.0, 1.0), "probability of real", events)))
    return [Picture(data_url(draw_svg([chart], CHART_SIZE), "image/svg+xml"), title) for title, chart in charts]


def points(trace: Trace, name: str) -> list[tuple[float, float]]:
    """A measurement over kimg, or the r_v that follows from several, without the rows that lack it."""
    values = overfitting(trace)[0] if name == "r_v" else trace[name]
    return [(float(x), float(y)) for x, y in zip(trace.kimg, values, strict=True) if np.isfinite(y)]


def read_curve(name: str, end: float) -> list[tuple[float, float]]:
    """A curve of dvclive over kimg, a row for each thousand images; empty where there is none yet."""
    file = paths.TRAIN_REPORT / "plots" / "metrics" / f"{name}.tsv"
    if not file.exists():
        return []
    rows = csv.DictReader(file.read_text().splitlines(), delimiter="\t")
    return [(min(int(row["step"]) + 1.0, end), float(row[name])) for row in rows]
