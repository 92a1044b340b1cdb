"""The recipes that are held against one another, and how a preset becomes one."""

from functools import cache
from typing import Any

from training.params import Params, read_params, validate_params
from training.presets import PRESET_SECTIONS, deep_merge, load_preset

PLAIN = "digits-dcgan"  # plain DCGAN, as public code has it
PLAIN_TUNED = "digits-dcgan-tuned"
DEFAULT = "default"

# What is changed of a preset to make a recipe that is none itself.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    # The default's batch and rates, at which plain DCGAN learned far faster on the clothes than at its own.
    PLAIN_TUNED: (PLAIN, {"train": {"batch": 32, "generator_lr": 1e-3, "discriminator_lr": 1e-3}}),
}


def recipe(name: str, **changes: Any) -> Params:
    """params.yaml with a preset's or a variant's networks and training but without its data, changed by section."""
    preset, own_changes = VARIANTS.get(name, (name, {}))
    values = _recipe_values(preset)
    changes = deep_merge(own_changes, changes)
    return validate_params(
        deep_merge(deep_merge(read_params(), values), changes), f"the preset {preset} with {changes}"
    )


@cache
def _recipe_values(preset: str) -> dict[str, Any]:
    """What a preset says of networks and training; read once, as a benchmark asks for it at every run."""
    values = load_preset(preset).values
    return {section: values[section] for section in PRESET_SECTIONS}
