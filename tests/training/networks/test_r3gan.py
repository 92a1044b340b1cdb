"""Tests of R3GAN against its paper: identity blocks, initial weights, parameter counts, resampling and precision."""

import math

import pytest
import torch
from torch import Tensor, nn

from serving.inference.image_shape import Resolution
from tests.training.project import FAMILIES, tiny_params
from training.networks import build
from training.networks.r3gan import GenerativeBasis, Resample, ResidualBlock

GAIN = math.sqrt(2 / 1.04)
WIDE = {"generator_width": 64, "discriminator_width": 64}


def test_a_block_starts_as_the_identity_and_can_learn() -> None:
    block = ResidualBlock(16, blocks=4)
    x = torch.randn(2, 16, 5, 5)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    last = block.layers[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.weight.grad is not None
    assert (last.weight.grad != 0).all()


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("side", [8, 14])
def test_resampling_keeps_a_constant_image_constant_away_from_its_border(up: bool, side: int) -> None:
    constant = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, side, side)
    resampled = Resample(2, 2, up)(constant)
    assert resampled.shape == (1, 2, side * 2, side * 2) if up else (1, 2, side // 2, side // 2)
    inside = resampled[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inside, constant[:, :, :1, :1].expand_as(inside))


def test_resampling_filters_with_1_3_3_1() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 3, 3] = 1
    weights = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1]))
    doubled = Resample(1, 1, up=True)(image)[0, 0]
    torch.testing.assert_close(doubled[5:9, 5:9], weights / 16)
    assert doubled.sum().item() == pytest.approx(4)
    halved = Resample(1, 1, up=False)(image)[0, 0]
    torch.testing.assert_close(halved[1:3, 1:3], torch.tensor([[9.0, 3], [3, 1]]) / 64)


def test_resampling_has_a_convolution_only_where_the_width_changes() -> None:
    assert not list(Resample(8, 8, up=True).parameters())
    (weight,) = Resample(8, 4, up=True).parameters()
    assert weight.shape == (4, 8, 1, 1)


def test_initial_weights_have_the_papers_standard_deviation() -> None:
    torch.manual_seed(0)
    generator, discriminator = build(tiny_params(network=FAMILIES["residual"] | WIDE, data={"resolution": 32}), None)
    for network in (generator, discriminator):
        blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
        assert len(blocks) == 8  # two at each of 4, 8, 16 and 32 pixels
        for block in blocks:
            expand, _, grouped, _, contract = block.layers
            channels = weight(expand).shape[1]
            assert weight(grouped).shape == (2 * channels, 16, 3, 3)
            assert std(expand) == pytest.approx(GAIN * 8**-0.25 / math.sqrt(channels), rel=0.05)
            assert std(grouped) == pytest.approx(GAIN * 8**-0.25 / math.sqrt(16 * 9), rel=0.05)
            assert (weight(contract) == 0).all()


@pytest.mark.parametrize(
    ("side", "widths", "numbers"),
    [
        (32, [768] * 4, (20_732_160, 20_683_776)),  # R3GAN's for CIFAR-10
        (64, [768] * 4 + [384], (22_429_824, 22_381_440)),  # for FFHQ-64
        (256, [768] * 4 + [384, 192, 96], (23_057_952, 23_009_568)),  # for FFHQ-256: 23.058M and 23.010M in the paper
    ],
)
def test_with_the_papers_widths_it_has_the_papers_number_of_parameters(
    side: int, widths: list[int], numbers: tuple[int, int]
) -> None:
    network = FAMILIES["residual"] | {"latent_dim": 64, "widths": widths, "condition": "none"}
    with torch.device("meta"):
        pair = build(tiny_params(data={"resolution": side, "channels": 3}, network=network), None)
    assert tuple(sum(parameter.numel() for parameter in each.parameters()) for each in pair) == numbers


def test_default_widths_equal_the_same_widths_spelled_out() -> None:
    def shapes(**network: object) -> list[torch.Size]:
        pair = build(tiny_params(network=FAMILIES["residual"] | network), None)
        return [parameter.shape for each in pair for parameter in each.parameters()]

    assert shapes() == shapes(widths=[32, 16, 8])


@pytest.mark.parametrize("condition", ["projection", "auxiliary"])
def test_under_bf16_autocast_the_lowest_resolution_and_the_head_run_in_float32(condition: str) -> None:
    network = FAMILIES["residual"] | {"condition": condition}
    generator, discriminator = build(tiny_params(network=network, data={"resolution": 32}), torch.eye(2))
    seen: dict[str, torch.dtype] = {}  # of each layer's output

    def watch(name: str, layer: nn.Module) -> None:
        layer.register_forward_hook(lambda _, __, made: seen.update({f"{name} {made.shape[-1]}": made.dtype}))

    for name, each in (("G", generator), ("D", discriminator)):
        for block in (module for module in each.modules() if isinstance(module, ResidualBlock)):
            watch(f"{name} block", block.layers[-1])
    watch("G basis", next(module for module in generator.modules() if isinstance(module, GenerativeBasis)))
    depthwise, _, logit = discriminator.head
    watch("D depthwise", depthwise)
    watch("D logit", logit)

    with torch.autocast("cpu", torch.bfloat16):
        output = discriminator(generator(torch.randn(2, 6), torch.arange(2)), torch.arange(2))

    single = {"G basis 4", "G block 4", "D block 4", "D depthwise 1", "D logit 1"}
    assert {name for name, dtype in seen.items() if dtype == torch.float32} == single
    # Everything else runs in bf16.
    assert {name for name, dtype in seen.items() if dtype == torch.bfloat16} == {
        f"{name} block {side}" for name in "GD" for side in (8, 16, 32)
    }
    assert output.logits.dtype == torch.float32
    assert output.tag_logits is None or output.tag_logits.dtype == torch.float32


def test_the_generative_basis_weights_learned_maps_by_the_latent() -> None:
    basis = GenerativeBasis(inputs=3, channels=2, size=Resolution(4, 6))
    z = torch.randn(5, 3)
    images = basis(z)
    by_hand = torch.einsum("ni,ci,cyx->ncyx", z, basis.weigh.weight, basis.maps)
    torch.testing.assert_close(images, by_hand)


def weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    return layer.weight


def std(layer: nn.Module) -> float:
    return weight(layer).std().item()
