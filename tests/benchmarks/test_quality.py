"""The quality benchmark compares recipes on the same images, measured alike, after the same time."""

import pytest
import yaml

from benchmarks import quality
from benchmarks.recipes import recipe
from training.params import load_params, validate


@pytest.mark.parametrize("name", quality.RECIPES)
def test_every_recipe_meets_the_same_images_and_the_same_measures(name: str) -> None:
    preset, changes = quality.RECIPES[name]
    text = yaml.safe_dump(quality.written(recipe(preset, **changes), minutes=2.5))
    params, default = validate(yaml.safe_load(text), "a scratch folder"), load_params()
    assert params.data.model_dump(exclude={"source"}) == default.data.model_dump(exclude={"source"})
    assert params.evaluate == default.evaluate
    assert (params.train.length.amount, params.train.length.unit) == (2.5, "minutes")
    assert params.train.horizontal_flip == default.train.horizontal_flip  # shoes point left in these pictures


def test_the_families_and_objectives_of_the_sources_are_in_the_table() -> None:
    rows = {name: recipe(preset, **changes) for name, (preset, changes) in quality.RECIPES.items()}
    assert {params.network.name for params in rows.values()} == {"dense", "upsampling", "dcgan", "residual"}
    assert rows["wgan"].objective.weight_clip == 0.01
    assert rows["wgan-gp"].objective.gradient_penalty == 10
    assert rows["residual"].objective.name == "relativistic"
