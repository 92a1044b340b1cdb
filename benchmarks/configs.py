"""Training configurations of the benchmarks: a preset's network and training on the data of params.yaml."""

from functools import cache
from typing import Any

from training.params import Params, read_params, validate_params
from training.presets import PRESET_SECTIONS, deep_merge, load_preset

PLAIN = "digits-dcgan"  # plain DCGAN, as in public code
PLAIN_TUNED = "digits-dcgan-tuned"
DEFAULT = "default"

# Configurations without a preset of their own: the preset that they start from, and the values changed in it.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    # The default's batch and rates, with which plain DCGAN learns Fashion-MNIST far faster than with its own.
    PLAIN_TUNED: (PLAIN, {"train": {"batch": 32, "generator_lr": 1e-3, "discriminator_lr": 1e-3}}),
}


def config(name: str, **changes: Any) -> Params:
    """params.yaml with the network and training of a preset or variant, and changes by section.

    Raises ParamsError where the values do not go together.
    """
    preset, variant_changes = VARIANTS.get(name, (name, {}))
    values = _preset_values(preset)
    changes = deep_merge(variant_changes, changes)
    return validate_params(
        deep_merge(deep_merge(read_params(), values), changes), f"the preset {preset} with {changes}"
    )


@cache
def _preset_values(preset: str) -> dict[str, Any]:
    """Sections of a preset apart from its data; cached, as benchmarks read them for every run."""
    values = load_preset(preset).values
    return {section: values[section] for section in PRESET_SECTIONS}
