"""An experiment: other images or another recipe, written into params.yaml, then trained, exported and measured.

    make train SOURCE=~/flowers.zip RESOLUTION=64 CHANNELS=3 MINUTES=15 PRESET=flowers-64

Every value is optional and comes through the environment, where no shell and no parser of DVC's looks into it, so
that a path may hold whatever paths hold. With values DVC keeps the run as an experiment; without any it is `dvc repro`.
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

VARIABLES = ("SOURCE", "RESOLUTION", "CHANNELS", "MINUTES", "PRESET")
OF_MAKE = {"PYTHON", "PORT"}  # what else a command line may set, see the Makefile
NAMES = "MAKE_VARIABLES"  # the names of all variables that make's command line set
DVC = (sys.executable, "-m", "dvc")


def main() -> None:
    """Puts the values into params.yaml and becomes DVC."""
    command = configure(os.environ)
    sys.stdout.flush()
    os.execv(command[0], command)


def configure(environment: Mapping[str, str]) -> list[str]:
    """Writes the values that the environment holds into params.yaml; returns the command that trains.

    Raises MintError, with params.yaml as it was, for a source that is not there and for values that do not work.
    """
    given = _given(environment)
    if not given:
        return [*DVC, "repro"]
    text = read_params_text()
    before = parse_params(text)
    changed = {key: value for key, value in _changes(given, before).items() if _value_at(before, key) != value}
    validate_params(deep_merge(before, _nested(changed)), f"make train with {' and '.join(given)}")
    if changed:
        _write(text, with_values(text, changed))
        for key, value in changed.items():
            print(f"{paths.PARAMS}: {key}: {_written(_value_at(before, key))} -> {_written(value)}")
    # With the time in its name, as DVC refuses to use a name twice.
    name = f"{given.get('PRESET', 'train')}-{time.strftime('%m%d-%H%M%S')}"
    return [*DVC, "exp", "run", "--name", name]


def with_values(text: str, changes: Mapping[str, Any]) -> str:
    """The text of a params.yaml with other values at dotted keys; all else, comments too, stays where it is.

    Raises ParamsError where a key has no line of its own.
    """
    nodes = {key: _node_at(yaml.compose(text), key) for key in changes}
    for key, node in sorted(nodes.items(), key=lambda item: item[1].start_mark.index, reverse=True):
        start = node.start_mark.index
        end = start + len(text[start : node.end_mark.index].rstrip())
        written = _written(changes[key])
        if comment := re.match(r" +(?=#)", text[end:]):
            room = end - start + len(comment[0])
            written, end = f"{written.ljust(room - 1)} ", end + len(comment[0])
        text = text[:start] + (written if start < end else f" {written}") + text[end:]
    try:
        found = parse_params(text)
    except ParamsError:
        found = {}
    for key, value in changes.items():
        if _value_at(found, key) != value:  # it was an alias of something else
            raise ParamsError(f"{paths.PARAMS}: {key} is written in a way that cannot be changed here; set it by hand")
    return text


def _given(environment: Mapping[str, str]) -> dict[str, str]:
    """The values by variable. Raises MintError for variables that mean nothing and for text that is no UTF-8."""
    for name in sorted(set(environment.get(NAMES, "").split()) - OF_MAKE):
        if name not in VARIABLES:
            hint = did_you_mean(name, VARIABLES, otherwise=f"it takes {', '.join(VARIABLES)}")
            raise MintError(f"make train takes no {name}; {hint}")
    given = {name: environment[name] for name in VARIABLES if environment.get(name)}
    for name, value in given.items():
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise MintError(f"{name} = {value!r} is no UTF-8 text, which params.yaml is; rename the file or folder")
    return given


def _changes(given: Mapping[str, str], before: ParamDict) -> dict[str, Any]:
    """What the values ask for, by dotted key; what is said one by one wins over the preset."""
    result: dict[str, Any] = flatten(load_preset(given["PRESET"]).values) if "PRESET" in given else {}
    if "SOURCE" in given:
        result["data.source"] = source = _not_home(given["SOURCE"])
        source_path(source)
        if source != _value_at(before, "data.source"):
            result |= {key: AUTO for key in ("name", "data.labels", "export.licence") if _is_of_the_data(before, key)}
    for variable, key in (("RESOLUTION", "data.resolution"), ("CHANNELS", "data.channels")):
        if variable in given:
            result[key] = int(given[variable]) if given[variable].isdecimal() else given[variable]
    if "MINUTES" in given:
        result["train.length"] = f"{given['MINUTES']} minutes"
    return result


def _is_of_the_data(values: ParamDict, key: str) -> bool:
    """Whether what stands there says something of the images so far, which must not be said of others."""
    return _value_at(values, key) not in (AUTO, "none" if key == "data.labels" else AUTO)


def _not_home(source: str) -> str:
    """The source; its whole path where it is a name in this folder that begins as a home folder does."""
    path = Path(source)
    return str(path.absolute()) if str(path).startswith("~") and path.exists() else source


def _write(before: str, after: str) -> None:
    """Replaces params.yaml, keeps what it was, and says how to go back."""
    kept = paths.RUNS / f"params-{hashlib.sha256(before.encode()).hexdigest()[:8]}.yaml"
    for path, text in ((kept, before), (paths.PARAMS, after)):
        with atomic_write(path) as part:
            part.write_bytes(text.encode())
    print(f"{paths.PARAMS} is changed as follows; to go back: cp {kept} {paths.PARAMS}")


def _written(value: Any) -> str:
    """A value as YAML has it, on one line."""
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


def _value_at(values: ParamDict, key: str) -> Any:
    """The value at a dotted key; None where there is none, which `with_values` refuses."""
    node: Any = values
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _nested(changes: Mapping[str, Any]) -> ParamDict:
    """Dotted keys as sections within sections."""
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
