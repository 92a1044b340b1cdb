"""Presets: named recipes in presets/NAME.yaml that go over params.yaml, each with its source and what it shows.

    python -m training.presets                    lists them
    python -m training.presets NAME [OPTIONS]     dvc exp run with the preset's values; OPTIONS go to dvc exp run

A preset states what differs from its `base`, and in the end from `default`, which states the whole recipe. So
two presets tried one after the other do not mix.
"""

import copy
import os
import sys
import time
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from serving.errors import MintError
from training import paths, stage
from training.params import Params, read_params, validate

FOLDER = Path(__file__).parents[1] / "presets"
DEFAULT = "default"
RECIPE = ("network", "objective", "stabilise", "train")  # what `default` states in full

Values = dict[str, Any]  # sections of params.yaml, nested


@dataclass(frozen=True)
class Preset:
    """A recipe by name, and the values that it sets in params.yaml."""

    name: str
    source: str
    shows: str
    values: Values


def names() -> list[str]:
    """Every preset, `default` first."""
    return sorted((path.stem for path in FOLDER.glob("*.yaml")), key=lambda name: (name != DEFAULT, name))


def load_preset(name: str) -> Preset:
    """Reads presets/<name>.yaml over its base. Raises MintError for a name that does not exist."""
    path = FOLDER / f"{name}.yaml"
    if not path.exists():
        nearest = get_close_matches(name, names(), n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(names())}"
        raise MintError(f"{name} is not a preset; {hint}")
    written = yaml.safe_load(path.read_text())
    below = {} if name == DEFAULT else load_preset(written.get("base", DEFAULT)).values
    return Preset(name, written["source"], written["shows"], overlay(below, written["params"]))


def overlay(below: Values, above: Values) -> Values:
    """`below` with the values of `above` in their place, section by section."""
    merged = copy.deepcopy(below)
    for key, value in above.items():
        merged[key] = overlay(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged


def with_preset(params: Values, name: str) -> Params:
    """The contents of a params.yaml under a preset. Raises ParamsError where they do not go together."""
    return validate(overlay(params, load_preset(name).values), f"{paths.PARAMS} with the preset {name}")


def settings(values: Values, prefix: str = "") -> list[str]:
    """Dotted `key=value` settings as `dvc exp run --set-param` reads them."""
    result = []
    for key, value in values.items():
        if isinstance(value, dict):
            result += settings(value, f"{prefix}{key}.")
        else:
            written = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            result.append(f"{prefix}{key}={written}")
    return result


def main() -> None:
    """Lists the presets, or runs the pipeline with one."""
    if len(sys.argv) == 1:
        for name in names():
            preset = load_preset(name)
            print(f"{name:15} {preset.shows}\n{'':15} source: {preset.source}")
        return
    name, options = sys.argv[1], sys.argv[2:]
    with_preset(read_params(), name)
    # With the time in its name, as DVC refuses to use a name twice.
    command = [sys.executable, "-m", "dvc", "exp", "run", "--name", f"{name}-{time.strftime('%m%d-%H%M%S')}"]
    for setting in settings(load_preset(name).values):
        command += ["--set-param", setting]
    # What the person adds comes last, so that it wins.
    os.execvp(command[0], [*command, *options])


if __name__ == "__main__":
    stage.run(main)
