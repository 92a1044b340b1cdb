"""Launcher behind `make train`: writes overrides into params.yaml, then runs the pipeline with DVC.

    make train SOURCE=~/flowers.zip RESOLUTION=64 CHANNELS=3 MINUTES=15 PRESET=flowers-64

Every override is optional and passed as an environment variable, which neither the shell nor DVC parses, so that paths
may contain any character. With overrides the run is kept as a DVC experiment; without any it is `dvc repro`.
"""

import hashlib
import math
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from serving.error_messages import did_you_mean
from serving.errors import MintError
from serving.files import atomic_write
from training import paths
from training.data.provenance import AUTO
from training.data.sources import source_path
from training.params import ParamsError, parse_params, read_params_text, validate_params
from training.presets import ParamDict, deep_merge, flatten, load_preset
from training.stage import run_stage

VARIABLES = ("SOURCE", "RESOLUTION", "CHANNELS", "MINUTES", "PRESET", "START_FROM")
OTHER_VARIABLES = {"PYTHON", "PORT"}  # of other targets in the Makefile
SET_VARIABLES = "MAKE_VARIABLES"  # environment variable: names of all variables set on make's command line
FRESH_START = {"train.start_from": "none", "train.freeze_discriminator": 0}  # with another source
DVC = (sys.executable, "-m", "dvc")


def main() -> None:
    """Write the overrides into params.yaml and replace this process by DVC."""
    command = configure(os.environ)
    sys.stdout.flush()
    os.execv(command[0], command)


def configure(environment: Mapping[str, str]) -> list[str]:
    """Write the overrides in the environment into params.yaml; return the DVC command to run.

    Raises MintError, leaving params.yaml unchanged, for a missing source and for invalid values.
    """
    overrides = _read_overrides(environment)
    if not overrides:
        return [*DVC, "repro"]
    text = read_params_text()
    before = parse_params(text)
    changed = {key: value for key, value in _param_changes(overrides, before).items() if _get(before, key) != value}
    validate_params(deep_merge(before, _unflatten(changed)), f"make train with {' and '.join(overrides)}")
    if changed:
        _replace_params(text, replace_values(text, changed))
        for key, value in changed.items():
            print(f"{paths.PARAMS}: {key}: {_to_yaml(_get(before, key))} -> {_to_yaml(value)}")
    # With the time, because DVC refuses to reuse a name.
    name = f"{overrides.get('PRESET', 'train')}-{time.strftime('%m%d-%H%M%S')}"
    return [*DVC, "exp", "run", "--name", name]


def replace_values(text: str, changes: Mapping[str, Any]) -> str:
    """Replace the values at dotted keys in the text of a params.yaml, keeping comments and layout.

    Raises ParamsError for a key that is missing or cannot be replaced in place.
    """
    nodes = {key: _node_at(yaml.compose(text), key) for key in changes}
    for key, node in sorted(nodes.items(), key=lambda item: item[1].start_mark.index, reverse=True):
        start = node.start_mark.index
        end = start + len(text[start : node.end_mark.index].rstrip())
        new = _to_yaml(changes[key])
        if comment := re.match(r" +(?=#)", text[end:]):
            width = end - start + len(comment[0])
            new, end = f"{new.ljust(width - 1)} ", end + len(comment[0])
        text = text[:start] + (new if start < end else f" {new}") + text[end:]
    try:
        found = parse_params(text)
    except ParamsError:
        found = {}
    for key, value in changes.items():
        if _get(found, key) != value:  # the value was a YAML alias
            raise ParamsError(f"{paths.PARAMS}: {key} is written in a way that cannot be changed here; set it by hand")
    return text


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


def _param_changes(overrides: Mapping[str, str], before: ParamDict) -> dict[str, Any]:
    """Translate overrides to values by dotted key; single values take precedence over the preset."""
    result: dict[str, Any] = flatten(load_preset(overrides["PRESET"]).values) if "PRESET" in overrides else {}
    if "SOURCE" in overrides:
        result["data.source"] = source = _protect_tilde(overrides["SOURCE"])
        source_path(source)
        if source != _get(before, "data.source"):
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
    return _get(values, key) not in neutral


def _protect_tilde(source: str) -> str:
    """Make an existing relative path that starts with ~ absolute, so that it is not expanded as a home folder."""
    path = Path(source)
    return str(path.absolute()) if str(path).startswith("~") and path.exists() else source


def _replace_params(before: str, after: str) -> None:
    """Replace params.yaml, keep a backup and print how to restore it."""
    backup = paths.RUNS / f"params-{hashlib.sha256(before.encode()).hexdigest()[:8]}.yaml"
    for path, text in ((backup, before), (paths.PARAMS, after)):
        with atomic_write(path) as part:
            part.write_bytes(text.encode())
    print(f"{paths.PARAMS} is changed as follows; to go back: cp {backup} {paths.PARAMS}")


def _to_yaml(value: Any) -> str:
    """Format a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.removesuffix("...\n").strip()


def _node_at(root: yaml.Node | None, key: str) -> yaml.Node:
    node = root
    for part in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == part), None)
    if node is None:
        raise ParamsError(f"{paths.PARAMS}: {key} is missing; add it (the committed params.yaml shows its range)")
    return node


def _get(values: ParamDict, key: str) -> Any:
    """Return the value at a dotted key; None if it is missing, which replace_values reports."""
    node: Any = values
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _unflatten(changes: Mapping[str, Any]) -> ParamDict:
    """Turn dotted keys into nested dicts."""
    result: ParamDict = {}
    for key, value in changes.items():
        *sections, last = key.split(".")
        node = result
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return result


if __name__ == "__main__":
    run_stage(main)
