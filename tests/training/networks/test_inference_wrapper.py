"""The generator as it is served is the trained one, with less arithmetic."""

import pytest
import torch
from torch import nn

from tests.training.project import FAMILIES, tiny_params
from tests.training.tiny_gan import TWO_TAGS
from training.networks import build
from training.networks.base import TagEmbedding
from training.networks.inference_wrapper import InferenceGenerator, fold_for_inference


@pytest.mark.parametrize("family", FAMILIES)
def test_folding_leaves_the_function_as_it_was(family: str) -> None:
    torch.manual_seed(0)
    network = FAMILIES[family] | {"generator_dropout": 0.2}
    generator, _ = build(tiny_params(network=network, data={"resolution": 32, "channels": 3}), TWO_TAGS)
    for _ in range(3):
        generator(torch.randn(16, 6), torch.randint(3, (16,)))  # moves running statistics away from where they start
    generator.eval()
    z, label = torch.randn(6, 6), torch.arange(6) % 3
    before = generator(z, label)

    quick = fold_for_inference(generator)

    assert not any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | TagEmbedding) for part in quick.modules())
    torch.testing.assert_close(quick(z, label), before, atol=1e-5, rtol=1e-4)
    assert torch.equal(generator(z, label), before)  # the trained one is as it was


def test_the_served_generator_answers_in_pixels() -> None:
    class Fixed(nn.Module):
        def forward(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
            return torch.tensor([-1.5, -1.0, 0.0, 0.999, 1.0, 7.0]).reshape(1, 1, 2, 3)

    pixels = InferenceGenerator(Fixed())(torch.zeros(1, 1))

    assert pixels.dtype == torch.uint8
    assert pixels.shape == (1, 2, 3, 1)
    assert pixels.flatten().tolist() == [0, 0, 128, 255, 255, 255]
