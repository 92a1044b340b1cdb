"""Presets: named recipes in presets/NAME.yaml that go over params.yaml, each with its source and what it shows.

    python -m training.presets         lists them
    make train PRESET=name             trains with one, see launch.py

A preset states what differs from its `base`, and in the end from `default`, which states the whole recipe. So
two presets tried one after the other do not mix.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from serving.error_messages import did_you_mean
from serving.errors import MintError
from training.stage import run_stage

FOLDER = Path(__file__).parents[1] / "presets"
DEFAULT = "default"
PRESET_SECTIONS = ("network", "objective", "stabilise", "train")  # what `default` states in full

ParamDict = dict[str, Any]  # sections of params.yaml, nested


@dataclass(frozen=True)
class Preset:
    """A recipe by name, and the values that it sets in params.yaml."""

    name: str
    source: str
    shows: str
    values: ParamDict


def preset_names() -> list[str]:
    """Every preset, `default` first."""
    return sorted((path.stem for path in FOLDER.glob("*.yaml")), key=lambda name: (name != DEFAULT, name))


def load_preset(name: str) -> Preset:
    """Reads presets/<name>.yaml over its base. Raises MintError for a name that does not exist."""
    if name not in preset_names():
        hint = did_you_mean(name, preset_names(), otherwise=f"there are {', '.join(preset_names())}")
        raise MintError(f"{name} is not a preset; {hint}")
    written = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    below = {} if name == DEFAULT else load_preset(written.get("base", DEFAULT)).values
    return Preset(name, written["source"], written["shows"], deep_merge(below, written["params"]))


def deep_merge(below: ParamDict, above: ParamDict) -> ParamDict:
    """`below` with the values of `above` in their place, section by section."""
    merged = copy.deepcopy(below)
    for key, value in above.items():
        if isinstance(value, dict):
            section = merged.get(key)
            merged[key] = deep_merge(section if isinstance(section, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def flatten(values: ParamDict, prefix: str = "") -> dict[str, Any]:
    """The values by dotted key, as `train.batch`."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def main() -> None:
    """Lists the presets."""
    for name in preset_names():
        preset = load_preset(name)
        print(f"{name:15} {preset.shows}\n{'':15} source: {preset.source}")


if __name__ == "__main__":
    run_stage(main)
