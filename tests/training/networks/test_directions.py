"""Tests of the principal directions: perpendicular, and those along which the first layer changes most."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serving.inference.generator import OnnxGenerator
from tests.training.project import FAMILIES, Project, tiny_params
from tests.training.test_export import trained as a_project_with_weights
from tests.training.tiny_gan import TWO_TAGS
from training import export, paths
from training.networks import Generator, build
from training.networks.directions import principal_directions
from training.networks.r3gan import ResidualBlock

EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
LATENT_DIM = 6


def trained(family: str, tags: Tensor | None = None) -> Generator:
    """A generator whose batch norms scale channels very unequally, as after training."""
    torch.manual_seed(0)
    generator, _ = build(tiny_params(network=FAMILIES[family] | {"generator_dropout": 0.2}), tags)
    for layer in generator.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, -3, 3)
            nn.init.uniform_(layer.running_var, 0.2, 3)
    return generator.eval()


def first_output(generator: Generator, z: Tensor, label: Tensor | None) -> Tensor:
    """Input of the first activation or block of the unfolded network, for z [N, latent_dim]."""
    received: list[Tensor] = []
    first = next(it for it in generator.modules() if isinstance(it, nn.ReLU | nn.LeakyReLU | ResidualBlock))
    hook = first.register_forward_pre_hook(lambda _, inputs: received.append(inputs[0].flatten(1).clone()))
    with torch.no_grad():
        generator(z, label)
    hook.remove()
    return received[0]


def strengths(generator: Generator, directions: NDArray[np.float64], label: int | None = None) -> NDArray[np.float64]:
    """Change of the first layer's output for a unit step along each of N directions, from one random z."""
    torch.manual_seed(1)
    z = torch.randn(1, LATENT_DIM)
    steps = torch.cat([z, z + torch.from_numpy(directions).float()])
    outputs = first_output(generator, steps, None if label is None else torch.full((len(steps),), label))
    return (outputs[1:] - outputs[0]).norm(dim=1).double().numpy()


def strongest_first(strengths: NDArray[np.float64]) -> bool:
    """True if the strengths descend, within rounding.

    A layer with fewer units than latent_dim does not change along some directions, whose order is that of rounding.
    """
    return bool((np.diff(strengths) < 1e-5 * strengths[0]).all())


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@EVERY_FAMILY
def test_no_direction_changes_the_first_layer_more_than_the_first(family: str) -> None:
    generator = trained(family)
    first = np.array(principal_directions(generator)[:1])
    random = np.random.RandomState(2).standard_normal((200, LATENT_DIM))
    (strongest,) = strengths(generator, first)
    assert (strengths(generator, unit(random)) < strongest).all()
    assert (strengths(generator, unit(first + 0.05 * random)) < strongest).all()


@EVERY_FAMILY
def test_directions_are_orthonormal_and_the_strongest_come_first(family: str) -> None:
    generator = trained(family)
    directions = np.array(principal_directions(generator))
    assert directions.shape == (LATENT_DIM, LATENT_DIM)
    np.testing.assert_allclose(directions @ directions.T, np.eye(LATENT_DIM), atol=1e-5)
    assert strongest_first(strengths(generator, directions))


@EVERY_FAMILY
def test_directions_do_not_include_the_class_embedding(family: str) -> None:
    generator = trained(family, TWO_TAGS)
    directions = np.array(principal_directions(generator))
    assert directions.shape == (LATENT_DIM, LATENT_DIM)
    random = unit(np.random.RandomState(2).standard_normal((200, LATENT_DIM)))
    for label in range(3):
        strong = strengths(generator, directions, label)
        assert (strengths(generator, random, label) < strong[0]).all()
        assert strongest_first(strong)


@EVERY_FAMILY
def test_directions_are_deterministic_and_their_largest_component_is_positive(family: str) -> None:
    directions = principal_directions(trained(family))
    assert directions == principal_directions(trained(family))
    assert all(max(row) == max(map(abs, row)) for row in directions)


def test_count_limits_the_number_of_directions() -> None:
    generator = trained("dense")
    assert principal_directions(generator, 2) == principal_directions(generator)[:2]


def test_the_generator_is_not_modified() -> None:
    generator = trained("dcgan-5")
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    principal_directions(generator)
    after = generator.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_model_card_contains_the_directions(project: Project) -> None:
    a_project_with_weights(project)
    export.main()
    directions = np.array(OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu").card.directions)
    assert directions.shape == (LATENT_DIM, LATENT_DIM)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-5)
