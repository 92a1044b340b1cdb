"""Transfer of weights between networks that differ in resolution, channels, classes, tags, widths or norm."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from serving.errors import MintError
from tests.training.project import FAMILIES, invented_manifest
from tests.training.tiny_gan import tiny_gan, train_steps
from training.gan.start import describe
from training.gan.trainer import GANTrainer
from training.gan.training_state import StateDescription
from training.gan.transfer import (
    Transfer,
    colour_conversion,
    common_subsequence,
    transfer_discriminator,
    transfer_generator,
)

PROJECTED = {"name": "projected", "kernel": None, "discriminator_norm": "none"}
Z = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def description(gan: GANTrainer, *tags: str) -> StateDescription:
    return describe(gan, invented_manifest(*((tag,) for tag in tags)), None, "a run")


def moved(
    source: GANTrainer, target: GANTrainer, old: tuple[str, ...], new: tuple[str, ...]
) -> tuple[Transfer, Transfer]:
    """Transfer both networks and load them into the target."""
    about = description(source, *old), description(target, *new)
    generator = transfer_generator(source.generator.state_dict(), target.generator.state_dict(), *about)
    discriminator = transfer_discriminator(source.discriminator.state_dict(), target.discriminator.state_dict(), *about)
    target.generator.load_state_dict(generator.state)
    target.discriminator.load_state_dict(discriminator.state)
    return generator, discriminator


def trained(classes: int = 2, **sections: dict[str, Any]) -> GANTrainer:
    """A trainer whose weights and buffers are no longer the initial ones."""
    gan = tiny_gan(classes, **sections)
    train_steps(gan, 2)
    return gan


def outputs(gan: GANTrainer, images: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Images of Z and logits of images, in evaluation mode."""
    with torch.no_grad():
        generator, discriminator = gan.generator.module.eval(), gan.discriminator.module.eval()
        return generator(Z, label), discriminator(images, label).logits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_networks_of_the_same_shape_are_taken_whole(family: str, spectral_norm: bool) -> None:
    if family == "residual" and spectral_norm:
        pytest.skip("this combination is refused")
    sections = {"network": FAMILIES[family] | {"spectral_norm": spectral_norm}}
    source, target = trained(**sections), tiny_gan(2, **sections, train={"seed": 1})
    transfers = moved(source, target, ("cat", "dog"), ("cat", "dog"))
    assert all(transfer.complete for transfer in transfers)
    for before, after in ((source.generator, target.generator), (source.discriminator, target.discriminator)):
        state = after.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in before.state_dict().items())


@pytest.mark.parametrize("channels", [3, 4])
def test_a_projected_gan_keeps_its_heads_with_the_random_mixing_that_they_know(channels: int) -> None:
    source = trained(network=PROJECTED, data={"channels": 3})
    target = tiny_gan(2, network=PROJECTED, data={"channels": channels}, train={"seed": 1})
    generator, discriminator = moved(source, target, ("cat", "dog"), ("cat", "dog"))
    assert discriminator.complete
    assert generator.complete
    images, label = torch.rand(5, 3, 28, 28) * 2 - 1, torch.tensor([0, 1, 0, 1, 0])
    before, logits_before = outputs(source, images, label)
    opaque = torch.cat([images, torch.ones(5, 1, 28, 28)], dim=1)[:, :channels]
    after, logits_after = outputs(target, opaque, label)
    torch.testing.assert_close(after[:, :3], before)
    torch.testing.assert_close(logits_after, logits_before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("old", "new"), [(1, 3), (3, 1)])
def test_from_grey_to_rgb_and_back_the_pictures_stay_and_so_do_the_logits_of_grey_ones(
    family: str, old: int, new: int
) -> None:
    network = FAMILIES[family]
    source = trained(network=network, data={"channels": old})
    target = tiny_gan(2, network=network, data={"channels": new}, train={"seed": 1})
    generator, discriminator = moved(source, target, ("cat", "dog"), ("cat", "dog"))
    assert generator.complete
    assert discriminator.complete
    label = torch.tensor([0, 1, 0, 1, 0])
    grey = torch.rand(5, 1, 28, 28) * 2 - 1
    before, logits_before = outputs(source, grey.expand(-1, old, -1, -1), label)
    after, logits_after = outputs(target, grey.expand(-1, new, -1, -1), label)
    torch.testing.assert_close(logits_after, logits_before)
    if old == 1:
        torch.testing.assert_close(after, before.expand(-1, 3, -1, -1))
    elif family == "residual":  # the others' tanh comes after the mean
        torch.testing.assert_close(after, before.mean(1, keepdim=True))


def test_a_new_alpha_channel_has_no_weight_and_colours_stay() -> None:
    matrix = colour_conversion(3, 4)
    assert torch.equal(matrix @ torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.1, 0.2, 0.3, 0.0]))
    assert torch.equal(colour_conversion(4, 3) @ torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.1, 0.2, 0.3]))


def test_classes_are_matched_by_name_and_the_others_are_new() -> None:
    source, target = trained(3), tiny_gan(3, train={"seed": 1})
    fresh = copy.deepcopy(target.generator.state_dict()["latent.embedding.weight"])
    moved(source, target, ("cat", "dog", "owl"), ("ant", "owl", "cat"))
    for network, name in (("generator", "latent.embedding.weight"), ("discriminator", "embedding.weight")):
        before, after = (getattr(gan, network).state_dict()[name] for gan in (source, target))
        assert torch.equal(after[1], before[2])
        assert torch.equal(after[2], before[0])
    assert torch.equal(target.generator.state_dict()["latent.embedding.weight"][0], fresh[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_with_classes_goes_on_without_them_and_the_reverse(family: str) -> None:
    plain = trained(0, network=FAMILIES[family])
    conditional = tiny_gan(2, network=FAMILIES[family], train={"seed": 1})
    generator, discriminator = moved(plain, conditional, (), ("cat", "dog"))
    assert generator.complete
    assert discriminator.complete
    noise = torch.rand(5, 1, 28, 28) * 2 - 1
    expected = outputs(plain, noise)
    for after, before in zip(outputs(conditional, noise, torch.tensor([0, 1, 0, 1, 0])), expected, strict=True):
        torch.testing.assert_close(after, before)

    again = tiny_gan(0, network=FAMILIES[family], train={"seed": 2})
    moved(conditional, again, ("cat", "dog"), ())
    for after, before in zip(outputs(again, noise), expected, strict=True):
        torch.testing.assert_close(after, before)


def test_a_projected_generator_keeps_its_images_when_classes_come_and_go() -> None:
    label = torch.tensor([0, 1, 0, 1, 0])
    plain, conditional = trained(0, network=PROJECTED), tiny_gan(2, network=PROJECTED, train={"seed": 1})
    again = tiny_gan(0, network=PROJECTED, train={"seed": 2})
    assert all(transfer.complete for transfer in moved(plain, conditional, (), ("cat", "dog")))
    assert all(transfer.complete for transfer in moved(conditional, again, ("cat", "dog"), ()))
    images = torch.rand(5, 1, 28, 28) * 2 - 1
    expected, _ = outputs(plain, images)
    torch.testing.assert_close(outputs(conditional, images, label)[0], expected)
    torch.testing.assert_close(outputs(again, images)[0], expected)


def weights(network: nn.Module, kind: type[nn.Module]) -> list[Tensor]:
    return [module.weight for module in network.modules() if isinstance(module, kind)]  # type: ignore[misc]


def test_at_twice_the_resolution_a_dcgan_keeps_all_but_its_coarsest_layers() -> None:
    source, target = trained(data={"resolution": 32}), tiny_gan(2, data={"resolution": 64}, train={"seed": 1})
    generator, discriminator = moved(source, target, ("cat", "dog"), ("cat", "dog"))
    assert generator.taken == (False, False, True, True, True)
    assert discriminator.taken == (True, True, True, False, False)
    old, new = (weights(gan.generator.module, nn.ConvTranspose2d) for gan in (source, target))
    assert all(torch.equal(a, b) for a, b in zip(old[1:], new[2:], strict=True))


def test_at_twice_the_resolution_residual_networks_keep_the_resolution_of_every_layer() -> None:
    def gan(resolution: int, levels: int, **more: Any) -> GANTrainer:
        network = FAMILIES["residual"] | {"widths": [8] * levels, "depth": 1}
        return tiny_gan(2, network=network, data={"resolution": resolution}, **more)

    source, target = gan(32, 4), gan(64, 5, train={"seed": 1})
    train_steps(source, 2)
    moved(source, target, ("cat", "dog"), ("cat", "dog"))
    old, new = source.generator.module.layers, target.generator.module.layers
    for index in range(8):  # the basis, and the block and the resampling of each resolution
        assert all(torch.equal(a, b) for a, b in zip(old[index].parameters(), new[index].parameters(), strict=True))


def test_a_norm_that_only_one_network_has_leaves_the_convolutions_matched() -> None:
    source, target = trained(), tiny_gan(2, network={"discriminator_norm": "batch"}, train={"seed": 1})
    _, discriminator = moved(source, target, ("cat", "dog"), ("cat", "dog"))
    assert discriminator.complete


def test_another_width_fits_nowhere_but_where_shapes_agree() -> None:
    source, target = trained(), tiny_gan(2, network={"generator_width": 6}, train={"seed": 1})
    generator, discriminator = moved(source, target, ("cat", "dog"), ("cat", "dog"))
    assert not any(generator.taken)
    assert discriminator.complete


def test_the_longest_common_subsequence_prefers_early_elements() -> None:
    first, second = ([((name, torch.Size([1])),) for name in text] for text in ("abca", "xabbcaa"))
    assert common_subsequence(first, second) == [(0, 1), (1, 2), (2, 4), (3, 5)]


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_frozen_layers_of_the_discriminator_do_not_learn_and_the_others_do(spectral_norm: bool) -> None:
    network = {"discriminator_norm": "batch-everywhere", "spectral_norm": spectral_norm}
    gan = tiny_gan(2, network=network, train={"start_from": "auto", "freeze_discriminator": 1})
    before = {name: value.clone() for name, value in gan.discriminator.module.named_parameters()}
    train_steps(gan, 3)
    changed = {
        name for name, value in gan.discriminator.module.named_parameters() if not torch.equal(value, before[name])
    }
    assert {name for name in before if name not in changed} == {
        name for name in before if name.startswith(("features.0", "features.1."))
    }


def test_freezing_the_whole_discriminator_is_an_error() -> None:
    with pytest.raises(MintError, match="freeze_discriminator is 3 and the discriminator has 3 layers; set it to 2"):
        tiny_gan(2, train={"start_from": "auto", "freeze_discriminator": 3})
