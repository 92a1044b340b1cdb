"""Presets: named parameter sets in presets/NAME.yaml that override params.yaml, each with its source and its purpose.

    python -m training.presets         lists them
    make train PRESET=name             trains with one, see launch.py

A preset holds the differences from its `base`, and the last base is `default`, which sets every key of PRESET_SECTIONS.
Applying a preset therefore replaces every value of the previous one.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from serving.error_messages import did_you_mean
from serving.errors import MintError
from training.stage import run_stage

FOLDER = Path(__file__).parents[1] / "presets"
DEFAULT = "default"
PRESET_SECTIONS = ("network", "objective", "stabilise", "train")  # set in full by `default`

ParamDict = dict[str, Any]  # params.yaml, or a part of it, as nested dicts


@dataclass(frozen=True)
class Preset:
    """A named set of values for params.yaml."""

    name: str
    source: str
    shows: str
    values: ParamDict


def preset_names() -> list[str]:
    """List the names of all presets, `default` first."""
    return sorted((path.stem for path in FOLDER.glob("*.yaml")), key=lambda name: (name != DEFAULT, name))


def load_preset(name: str) -> Preset:
    """Read presets/<name>.yaml, merged over its bases. Raises MintError for an unknown name."""
    if name not in preset_names():
        hint = did_you_mean(name, preset_names(), otherwise=f"there are {', '.join(preset_names())}")
        raise MintError(f"{name} is not a preset; {hint}")
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    base = {} if name == DEFAULT else load_preset(content.get("base", DEFAULT)).values
    return Preset(name, content["source"], content["shows"], deep_merge(base, content["params"]))


def deep_merge(base: ParamDict, overrides: ParamDict) -> ParamDict:
    """Merge nested dicts; values of `overrides` win. Returns a new dict."""
    merged = copy.deepcopy(base)
    for key, value in overrides.items():
        if isinstance(value, dict):
            section = merged.get(key)
            merged[key] = deep_merge(section if isinstance(section, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def flatten(values: ParamDict, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to dotted keys such as `train.batch`."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def unflatten(values: Mapping[str, Any]) -> ParamDict:
    """Turn dotted keys into nested dicts."""
    result: ParamDict = {}
    for key, value in values.items():
        *sections, last = key.split(".")
        node = result
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return result


def main() -> None:
    """Print the presets."""
    for name in preset_names():
        preset = load_preset(name)
        print(f"{name:15} {preset.shows}\n{'':15} source: {preset.source}")


if __name__ == "__main__":
    run_stage(main)
