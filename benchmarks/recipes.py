"""The recipes that are held against one another, and how a preset becomes one."""

from typing import Any

from training.params import Params, read_params, validate
from training.presets import RECIPE, load_preset, overlay

PLAIN = "digits-dcgan"  # plain DCGAN, as public code has it
DEFAULT = "default"


def recipe(preset: str, **changes: Any) -> Params:
    """params.yaml with a preset's networks and training but without its data, and with changes by section."""
    values = {section: load_preset(preset).values[section] for section in RECIPE}
    return validate(overlay(overlay(read_params(), values), changes), f"the preset {preset} with {changes}")
