"""The networks have the shapes and the sizes that their sources give."""

import pytest
import torch
from torch import nn

from training.networks import build, dcgan
from training.networks.served import ServedGenerator, fold_batch_norm
from training.params import NetworkParams


def weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def network_params(**changes: object) -> NetworkParams:
    defaults = {"name": "dcgan", "kernel": 4, "latent_dim": 5, "generator_width": 3, "discriminator_width": 3}
    return NetworkParams.model_validate(defaults | {"conditional": True} | changes)


def test_dcgan_with_kernel_5_has_the_published_number_of_parameters() -> None:
    assert weights(dcgan.Generator(64, 3, 0, latent_dim=100, width=64, kernel=5)) == 5_142_083
    assert weights(dcgan.Discriminator(64, 3, 0, width=64, kernel=5)) == 4_316_545


def test_dcgan_with_kernel_4_has_the_number_of_parameters_of_the_pytorch_tutorial() -> None:
    assert weights(dcgan.Generator(64, 3, 0, latent_dim=100, width=64, kernel=4)) == 3_576_704
    assert weights(dcgan.Discriminator(64, 3, 0, width=64, kernel=4)) == 2_765_568


@pytest.mark.parametrize("resolution", [28, 32, 64, 96, 128, 256])
@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (3, 4)])
def test_networks_work_at_every_size(resolution: int, kernel: int, channels: int, classes: int) -> None:
    generator, discriminator = build(network_params(kernel=kernel), resolution, channels, classes)
    labels = torch.tensor([0, classes - 1]) if classes else None

    images = generator(torch.randn(2, 5), labels)

    assert images.shape == (2, channels, resolution, resolution)
    assert images.abs().max() <= 1
    assert discriminator(images, labels).shape == (2,)


@pytest.mark.parametrize("latent_dim", [1, 7, 100])
def test_any_latent_size_works(latent_dim: int) -> None:
    generator, _ = build(network_params(latent_dim=latent_dim), 28, 1, 0)
    assert generator(torch.randn(2, latent_dim)).shape == (2, 1, 28, 28)


def test_the_class_changes_what_both_networks_answer() -> None:
    torch.manual_seed(0)
    generator, discriminator = build(network_params(), 28, 1, 2)
    nn.init.normal_(discriminator.embedding.weight)  # type: ignore[union-attr,arg-type]  # zero before training
    z = torch.randn(1, 5).repeat(2, 1)

    images = generator.eval()(z, torch.tensor([0, 1]))
    logits = discriminator.eval()(torch.randn(1, 1, 28, 28).repeat(2, 1, 1, 1), torch.tensor([0, 1]))

    assert (images[0] - images[1]).abs().max() > 0.01 * images.abs().max()
    assert (logits[0] - logits[1]).abs() > 1e-4


@pytest.mark.parametrize("kernel", [4, 5])
def test_folding_batch_norm_leaves_the_function_as_it_was(kernel: int) -> None:
    torch.manual_seed(0)
    generator = dcgan.Generator(32, 3, 0, latent_dim=5, width=4, kernel=kernel)
    for _ in range(3):
        generator(torch.randn(16, 5))  # moves the running statistics away from where they start
    generator.eval()
    z = torch.randn(4, 5)

    folded = fold_batch_norm(generator.layers)

    assert not any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in folded)
    torch.testing.assert_close(folded(z), generator(z), atol=1e-5, rtol=1e-4)


def test_the_served_generator_answers_in_pixels() -> None:
    class Fixed(nn.Module):
        def forward(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
            return torch.tensor([-1.5, -1.0, 0.0, 0.999, 1.0, 7.0]).reshape(1, 1, 2, 3)

    pixels = ServedGenerator(Fixed())(torch.zeros(1, 1))

    assert pixels.dtype == torch.uint8
    assert pixels.shape == (1, 2, 3, 1)
    assert pixels.flatten().tolist() == [0, 0, 128, 255, 255, 255]
