"""Edits of params.yaml as text: values are replaced in place, so that comments and layout stay, with a backup."""

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from serving.files import atomic_write
from training import paths
from training.params import ParamsError, parse_params


def replace_values(text: str, changes: Mapping[str, Any]) -> str:
    """Replace the values at dotted keys in the text of a params.yaml, keeping comments and layout.

    Raises ParamsError for a key that is missing or cannot be replaced in place.
    """
    nodes = {key: _node_at(yaml.compose(text), key) for key in changes}
    for key, node in sorted(nodes.items(), key=lambda item: item[1].start_mark.index, reverse=True):
        start = node.start_mark.index
        end = start + len(text[start : node.end_mark.index].rstrip())
        new = format_value(changes[key])
        if comment := re.match(r" +(?=#)", text[end:]):
            width = end - start + len(comment[0])
            new, end = f"{new.ljust(width - 1)} ", end + len(comment[0])
        text = text[:start] + (new if start < end else f" {new}") + text[end:]
    try:
        found = parse_params(text)
    except ParamsError:
        found = {}
    for key, value in changes.items():
        if value_at(found, key) != value:  # the value was a YAML alias
            raise ParamsError(f"{paths.PARAMS}: {key} is written in a way that cannot be changed here; set it by hand")
    return text


def save_with_backup(before: str, after: str) -> Path:
    """Write the new text of params.yaml and a copy of the old one; returns the path of the copy."""
    backup = paths.RUNS / f"params-{hashlib.sha256(before.encode()).hexdigest()[:8]}.yaml"
    for path, text in ((backup, before), (paths.PARAMS, after)):
        with atomic_write(path) as part:
            part.write_bytes(text.encode())
    return backup


def value_at(values: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key; None if it is missing, which replace_values reports."""
    node: Any = values
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def format_value(value: Any) -> str:
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
