"""Training logs of any program as a trace: CSV, TSV, JSON lines, TensorBoard event files.

Columns are recognised by their usual names, in any spelling; others are named by the user.
"""

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from serving.error_messages import did_you_mean, escaped
from serving.errors import MintError
from training.doctor.trace import POSITION, Trace

# Measurements that a log can have, and names that programs give them, in lower case without other characters.
NAMES: dict[str, tuple[str, ...]] = {
    "step": (
        "step",
        "steps",
        "iter",
        "iters",
        "iteration",
        "iterations",
        "globalstep",
        "kimg",
        "tick",
        "epoch",
        "batch",
    ),
    "d_loss": (
        "dloss",
        "lossd",
        "discloss",
        "lossdisc",
        "discriminatorloss",
        "lossdiscriminator",
        "criticloss",
        "errd",
    ),
    "g_loss": ("gloss", "lossg", "genloss", "lossgen", "generatorloss", "lossgenerator", "errg"),
    "d_real": ("dreal", "dx", "realscore", "scoresreal", "realprob"),
    "d_fake": ("dfake", "dgz", "dgz1", "fakescore", "scoresfake", "fakeprob"),
    "fid": ("fid", "fid50k", "fid50kfull", "fid10k", "fid5k"),
    "kid": ("kid", "kid50k", "kid50kfull"),
}
SUFFIXES = {".csv": ",", ".tsv": "\t"}
EVENTS = "tfevents"  # in the name of TensorBoard's files
MAX_LISTED = 12  # columns in an error

RawRow = Mapping[str, Any]


class LogError(MintError):
    """A log that cannot be read, or says nothing about a GAN."""


@dataclass(frozen=True)
class Log:
    """A training log: its trace, whose `kimg` is thousands of its steps, and the column of each measurement."""

    trace: Trace
    columns: dict[str, str]


def read_log(path: Path, columns: Mapping[str, str]) -> Log:
    """Read a log, or a folder of TensorBoard event files. columns: measurement -> name in the log, for unusual names.

    Raises LogError for a file that is none, and where neither losses nor scores are found.
    """
    rows = _read_rows(path)
    names = list(dict.fromkeys(chain.from_iterable(rows)))
    found = match_columns(names, columns)
    if not set(found) - {"step"}:
        listed = ", ".join(names[:MAX_LISTED]) + (" ..." if len(names) > MAX_LISTED else "")
        raise LogError(
            f"{path} has no column that is known ({escaped(listed)}); name one: --column d_loss=NAME, "
            f"of {', '.join(name for name in NAMES if name != 'step')}"
        )
    return Log(Trace(_as_probabilities(list(_rows(rows, found)))), found)


def parse_columns(options: Iterable[str]) -> dict[str, str]:
    """Columns by measurement, of options such as `d_loss=Loss/D`. Raises LogError for others."""
    columns = {}
    for option in options:
        measurement, separator, name = option.partition("=")
        if not separator:
            raise LogError(f"--column {option}: write a measurement and its name in the log, such as d_loss={option}")
        columns[measurement] = name
    return columns


def match_columns(names: Iterable[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Measurement -> column, for those that the log has. chosen: by the user. Raises LogError for unknown names."""
    names = list(names)
    for measurement, name in chosen.items():
        if measurement not in NAMES:
            hint = did_you_mean(measurement, NAMES, otherwise=f"it is one of {', '.join(NAMES)}")
            raise LogError(f"--column {measurement}={name}: {measurement} is no measurement; {hint}")
        if name not in names:
            hint = did_you_mean(name, names, otherwise=f"it has {', '.join(names[:MAX_LISTED])}")
            raise LogError(f"--column {measurement}={name}: the log has no such column; {hint}")
    found = dict(chosen)
    for measurement, spellings in NAMES.items():
        ranked = {spelling: rank for rank, spelling in enumerate(spellings)}
        known = [(ranked[key], name) for name in names for key in _keys(name) if key in ranked]
        if known:
            found.setdefault(measurement, min(known)[1])
    return found


def _keys(name: str) -> set[str]:
    """A column's name as it is compared: the whole, and its parts after each slash, as in Loss/scores/real/mean."""
    parts = name.lower().removesuffix("/mean").split("/")
    return {re.sub("[^a-z0-9]", "", "".join(parts[start:])) for start in range(len(parts))}


def _rows(rows: Iterable[RawRow], columns: Mapping[str, str]) -> Iterable[dict[str, float]]:
    """Numbers of the known columns; a row without a step counts on from the one before."""
    position = -1.0
    for raw in rows:
        row = {name: value for name, column in columns.items() if (value := _number(raw.get(column))) is not None}
        position = row.pop("step", position + 1)
        if row:
            yield {POSITION: position / 1000} | row


def _as_probabilities(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """The same rows with D(x) and D(G(z)) as probabilities: values outside of 0..1 are logits."""
    for name in ("d_real", "d_fake"):
        values = [row[name] for row in rows if name in row]
        if any(not 0 <= value <= 1 for value in values):
            for row in rows:
                if name in row:
                    row[name] = 1 / (1 + math.exp(-max(-50.0, min(50.0, row[name]))))
    return rows


def _number(value: object) -> float | None:
    """A number, NaN included; None for anything else."""
    try:
        return float(value)  # type: ignore[arg-type]  # that is what is tried
    except (TypeError, ValueError):
        return None


def _read_rows(path: Path) -> list[RawRow]:
    """Rows of any format. Raises LogError."""
    if path.is_dir() or EVENTS in path.name:
        return _read_events(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LogError(
            f"{path} does not exist; name a CSV, TSV or JSON-lines file, or a TensorBoard event file"
        ) from None
    except UnicodeDecodeError:
        raise LogError(f"{path} is not text; it takes CSV, TSV, JSON lines and TensorBoard event files") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise LogError(f"{path} is empty; name the log of a run that has begun")
    rows = _read_json(path, lines) if lines[0].lstrip().startswith("{") else _read_table(path, lines)
    if not rows:
        raise LogError(f"{path} has a heading and no rows; name the log of a run that has begun")
    return rows


def _read_table(path: Path, lines: list[str]) -> list[RawRow]:
    delimiter = SUFFIXES.get(path.suffix.lower()) or ("\t" if "\t" in lines[0] else ";" if ";" in lines[0] else ",")
    return list(csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True))


def _read_json(path: Path, lines: list[str]) -> list[RawRow]:
    """Rows of JSON lines; the keys of nested objects are joined by slashes. A torn last line is left out."""
    rows: list[RawRow] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(dict(_flat(json.loads(line))))
        except (ValueError, AttributeError):
            if number < len(lines):
                raise LogError(f"{path}: line {number} is not a JSON object; every line has to be one") from None
    return rows


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", item


def _read_events(path: Path) -> list[RawRow]:
    """Scalars of a TensorBoard event file, or of all in a folder, a row for each step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    rows: dict[int, dict[str, Any]] = {}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            rows.setdefault(event.step, {"step": event.step})[tag] = event.value
    if not rows:
        raise LogError(f"{path} has no scalars of TensorBoard; name an event file, or the folder that it is in")
    return [rows[step] for step in sorted(rows)]
