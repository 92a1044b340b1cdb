"""Launcher behind `make train`: writes settings into params.yaml, then runs the pipeline with DVC.

    make train                       params.yaml as it is
    make train SOURCE=~/flowers.zip  looks at the pictures, chooses resolution, channels, preset and length for them
    make train SOURCE=~/flowers.zip RESOLUTION=64 CHANNELS=3 MINUTES=15 PRESET=photos  what is given is not chosen

Every value is passed as an environment variable, which neither the shell nor DVC parses, so that paths may contain any
character. With values the run is kept as a DVC experiment; without any it is `dvc repro`.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.error_messages import did_you_mean, escaped
from serving.errors import MintError
from training import paths
from training.announcement import found_lines, notes, plan_lines
from training.data.provenance import AUTO, base_name
from training.data.sources import open_source, source_path
from training.data.subset import stratified_subset
from training.lock import exclusive_lock
from training.param_file import format_value, replace_values, save_with_backup, value_at
from training.param_sections import DataParams
from training.params import Params, parse_params, read_params_text, validate_params
from training.presets import DEFAULT, ParamDict, deep_merge, flatten, load_preset, unflatten
from training.progress import heartbeat
from training.recommend import recommend
from training.stage import run_stage
from training.survey import Survey, survey

VARIABLES = ("SOURCE", "RESOLUTION", "CHANNELS", "MINUTES", "PRESET", "START_FROM")
OTHER_VARIABLES = {"PYTHON", "PORT"}  # of other targets in the Makefile
SET_VARIABLES = "MAKE_VARIABLES"  # environment variable: names of all variables set on make's command line
FRESH_START = {"train.start_from": "none", "train.freeze_discriminator": 0}  # with another source
DVC = (sys.executable, "-m", "dvc")

SpeedTest = Callable[[Params, int], float]  # images per second of a configuration, for data with this many classes


def main() -> None:
    """Write the settings into params.yaml and replace this process by DVC. Raises MintError beside another run."""
    with exclusive_lock(paths.LAUNCH_LOCK, "training in this folder", survives_exec=True):
        refuse_beside_dvc()
        paths.DECISION.unlink(missing_ok=True)
        command = configure(os.environ)
        sys.stdout.flush()
        os.execv(command[0], command)


def refuse_beside_dvc() -> None:
    """Raise MintError while DVC runs a stage here: the later stages would read another params.yaml."""
    try:
        holders = json.loads(paths.DVC_LOCKS.read_text())["write"].values()
    except (OSError, ValueError, KeyError):
        return
    for holder in holders:
        if b"dvc" in _command_line(holder["pid"]):
            raise MintError(f"process {holder['pid']} ({holder['cmd']}) is already running here; wait for it or end it")


def configure(environment: Mapping[str, str], speed_test: SpeedTest | None = None) -> list[str]:
    """Write the settings in the environment into params.yaml; return the DVC command to run.

    speed_test: by default a few real training steps. Raises MintError, leaving params.yaml unchanged, for a missing
    source and for invalid values.
    """
    overrides = _read_overrides(environment)
    if not overrides:
        return [*DVC, "repro"]
    text = read_params_text()
    before = parse_params(text)
    where = f"make train with {' and '.join(overrides)}"
    preset, values = overrides.get("PRESET", "train"), _given_values(overrides, before)
    if "SOURCE" in overrides or preset == AUTO:
        preset, values = _choose_the_rest(before, values, overrides.get("PRESET", AUTO), where, speed_test)
    validate_params(deep_merge(before, unflatten(values)), where)
    changed = {key: value for key, value in values.items() if value_at(before, key) != value}
    if changed:
        backup = save_with_backup(text, replace_values(text, changed))
        print(f"{paths.PARAMS} is changed as follows; to go back: cp {backup} {paths.PARAMS}")
        for key, value in changed.items():
            print(f"  {key}: {format_value(value_at(before, key))} -> {format_value(value)}")
    # With the time, because DVC refuses to reuse a name.
    return [*DVC, "exp", "run", "--name", f"{preset}-{time.strftime('%m%d-%H%M%S')}"]


def _read_overrides(environment: Mapping[str, str]) -> dict[str, str]:
    """Read the overrides by variable. Raises MintError for unknown variables and for values that are not UTF-8."""
    for name in sorted(set(environment.get(SET_VARIABLES, "").split()) - OTHER_VARIABLES):
        if name not in VARIABLES:
            hint = did_you_mean(name, VARIABLES, otherwise=f"it takes {', '.join(VARIABLES)}")
            raise MintError(f"make train takes no {name}; {hint}")
    overrides = {name: environment[name] for name in VARIABLES if environment.get(name)}
    for name, value in overrides.items():
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise MintError(f"{name} = {value!r} is no UTF-8 text, which params.yaml is; rename the file or folder")
    return overrides


def _given_values(overrides: Mapping[str, str], before: ParamDict) -> dict[str, Any]:
    """Translate overrides to values by dotted key; single values take precedence over the preset."""
    given = overrides.get("PRESET", AUTO)
    result: dict[str, Any] = {} if given == AUTO else flatten(load_preset(given).values)
    if "SOURCE" in overrides:
        result["data.source"] = source = _protect_tilde(overrides["SOURCE"])
        source_path(source)
        if source != value_at(before, "data.source"):
            result |= {key: AUTO for key in ("name", "data.labels", "export.licence") if _describes_data(before, key)}
            result |= FRESH_START
    for variable, key in (("RESOLUTION", "data.resolution"), ("CHANNELS", "data.channels")):
        if value := overrides.get(variable):
            result[key] = int(value) if value.isdecimal() else value
    if "START_FROM" in overrides:
        result["train.start_from"] = _protect_tilde(overrides["START_FROM"])
    if "MINUTES" in overrides:
        result["train.length"] = f"{overrides['MINUTES']} minutes"
    return result


def _describes_data(values: ParamDict, key: str) -> bool:
    """Return whether a setting describes the current images, and so is wrong for another source."""
    neutral = (AUTO, "none") if key == "data.labels" else (AUTO,)
    return value_at(values, key) not in neutral


def _protect_tilde(source: str) -> str:
    """Make an existing relative path that starts with ~ absolute, so that it is not expanded as a home folder."""
    path = Path(source)
    return str(path.absolute()) if str(path).startswith("~") and path.exists() else source


def _choose_the_rest(
    before: ParamDict, given: dict[str, Any], preset: str, where: str, speed_test: SpeedTest | None
) -> tuple[str, dict[str, Any]]:
    """Look at the pictures, choose what is not given, and print both. Returns the preset's name and all values.

    given: values by dotted key, with those of a given preset. preset: its name, or `auto` to choose one.
    """
    neutral = flatten(load_preset(DEFAULT).values) if preset == AUTO else {}  # works with any given value
    found = _look_at(validate_params(deep_merge(before, unflatten(neutral | given)), where).data)
    choice = recommend(found)
    values = choice.data_values
    if preset == AUTO:
        preset = choice.preset
        values = flatten(load_preset(preset).values) | values | choice.training_values
    values |= given
    values["train.batch"] = max(2, min(values["train.batch"], found.readable))
    params = validate_params(deep_merge(before, unflatten(values)), where)
    _print_indented(found_lines(found, params.data.resolution))
    print("measuring the speed of training on this machine", flush=True)
    speed = (speed_test or _measure_speed)(params, len(found.classes))
    _print_indented(
        [*plan_lines(params, load_preset(preset), found, speed), *notes(params, load_preset(preset), found, choice)]
    )
    return preset, values


def _look_at(data: DataParams) -> Survey:
    """Look at the pictures of the source. Raises MintError for a source that cannot be read."""
    name = escaped(base_name(data.source))
    print(f"looking at {name}", flush=True)
    with exclusive_lock(paths.PREPARED_LOCK, f"preparing {paths.PREPARED}"), ExitStack() as stack:
        with heartbeat(f"opening {name}"):
            source = stack.enter_context(open_source(data))
        return survey(replace(source, items=stratified_subset(source.items, data.limit)))


def _measure_speed(params: Params, classes: int) -> float:
    """Images per second of a configuration, for data with this many classes."""
    with heartbeat("measuring the speed of training"):
        from training.throughput import images_per_second  # deferred: importing torch takes seconds

        return images_per_second(params, classes)


def _print_indented(lines: list[str]) -> None:
    print(*(f"  {line}" for line in lines), sep="\n", flush=True)


def _command_line(pid: int) -> bytes:
    """Command line of a process, its arguments separated by zeros; empty if it does not run."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    run_stage(main)
