"""Tests of the inference wrapper: folding keeps the function, and images become uint8 pixels."""

import pytest
import torch
from torch import nn

from tests.training.project import FAMILIES, tiny_params
from tests.training.tiny_gan import TWO_TAGS
from training.networks import build
from training.networks.base import TagEmbedding
from training.networks.inference_wrapper import InferenceGenerator, fold_for_inference


@pytest.mark.parametrize("family", FAMILIES)
def test_folding_keeps_the_function(family: str) -> None:
    torch.manual_seed(0)
    network = FAMILIES[family] | {"generator_dropout": 0.2}
    generator, _ = build(tiny_params(network=network, data={"resolution": 32, "channels": 3}), TWO_TAGS)
    for _ in range(3):
        generator(torch.randn(16, 6), torch.randint(3, (16,)))  # moves the running statistics
    generator.eval()
    z, label = torch.randn(6, 6), torch.arange(6) % 3
    expected = generator(z, label)

    folded = fold_for_inference(generator)

    assert not any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | TagEmbedding) for part in folded.modules())
    torch.testing.assert_close(folded(z, label), expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(generator(z, label), expected)  # the original is not modified


def test_images_are_rounded_and_clamped_to_uint8_pixels() -> None:
    class Fixed(nn.Module):
        def forward(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
            return torch.tensor([-1.5, -1.0, 0.0, 0.999, 1.0, 7.0]).reshape(1, 1, 2, 3)

    pixels = InferenceGenerator(Fixed())(torch.zeros(1, 1))

    assert pixels.dtype == torch.uint8
    assert pixels.shape == (1, 2, 3, 1)
    assert pixels.flatten().tolist() == [0, 0, 128, 255, 255, 255]
