"""Tests of the training stabilisers: their strength, and the images and labels that they apply to."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.tiny_gan import NoiseBatches, tiny_gan, train_steps
from training.gan.stabilisers import ReplayBuffer, instance_noise, pack, soften_labels
from training.gan.trainer import GANTrainer

CPU = torch.device("cpu")
UNCONDITIONAL = {"condition": "none"}


def targets(count: int = 100_000, **stabilise: float) -> tuple[Tensor, Tensor]:
    """Soft labels of `count` real images and twice as many fakes."""
    torch.manual_seed(0)
    drawn = soften_labels(tiny_gan(stabilise=stabilise).params.stabilise, count, 2 * count, CPU)
    assert drawn is not None
    assert (len(drawn.real), len(drawn.fake)) == (count, 2 * count)
    return drawn.real, drawn.fake


def test_label_flips_label_a_share_of_reals_as_fake_and_no_fake_as_real() -> None:
    real, fake = targets(label_flip=0.1)
    assert set(real.tolist()) == {0.0, 1.0}
    assert (real == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert (fake == 0).all()


def test_label_smoothing_lowers_the_labels_of_reals_alone() -> None:
    real, fake = targets(label_smoothing=0.1)
    torch.testing.assert_close(real, torch.full_like(real, 0.9))
    assert (fake == 0).all()


def test_label_noise_moves_labels_towards_one_another_by_up_to_its_size() -> None:
    real, fake = targets(label_noise=0.3)
    assert real.min().item() == pytest.approx(0.7, abs=1e-3)
    assert real.max().item() == pytest.approx(1.0, abs=1e-3)
    assert fake.min().item() == pytest.approx(0.0, abs=1e-3)
    assert fake.max().item() == pytest.approx(0.3, abs=1e-3)
    assert fake.mean().item() == pytest.approx(0.15, abs=0.01)


def test_flips_smoothing_and_noise_together_stay_within_0_and_1() -> None:
    real, fake = targets(label_flip=0.2, label_smoothing=0.6, label_noise=0.8)
    for labels in (real, fake):
        assert labels.min() >= 0
        assert labels.max() <= 1
    assert (real == 0).float().mean().item() == pytest.approx(0.2 + 0.8 * 0.5, abs=0.01)  # flipped, or noise over 0.4


def test_without_label_stabilisers_there_are_no_soft_labels() -> None:
    assert soften_labels(tiny_gan().params.stabilise, 8, 8, CPU) is None


def test_instance_noise_falls_linearly_to_0() -> None:
    params = tiny_gan(stabilise={"instance_noise": 0.4, "instance_noise_kimg": 2}).params.stabilise
    sizes = [instance_noise(params, seen) for seen in (0, 500, 1000, 1500, 2000, 2001, 10**9)]
    assert sizes == pytest.approx([0.4, 0.3, 0.2, 0.1, 0, 0, 0])
    assert instance_noise(tiny_gan().params.stabilise, 0) == 0


def test_packing_joins_neighbours_along_channels() -> None:
    images = torch.randn(6, 3, 4, 4)
    packed = pack(images, 2)
    assert packed.shape == (3, 6, 4, 4)
    for pair in range(3):
        assert torch.equal(packed[pair], torch.cat([images[2 * pair], images[2 * pair + 1]]))


def numbered(start: int, count: int = 8) -> tuple[Tensor, Tensor]:
    """Distinguishable fakes, with their numbers as labels."""
    number = torch.arange(start, start + count)
    return number.float().view(-1, 1, 1, 1).repeat(1, 1, 2, 2), number


def test_a_full_replay_buffer_keeps_its_size_and_replaces_half_of_a_batch() -> None:
    replay, shown = ReplayBuffer(20, CPU), set(range(24))
    for start in (0, 8, 16):  # while it fills, nothing is replaced
        images, _ = replay.mix(*numbered(start))
        assert torch.equal(images, numbered(start)[0])
    for start in range(24, 400, 8):
        images, labels = replay.mix(*numbered(start))
        old = labels[labels < start].tolist()
        assert len(old) == len(set(old)) == 4
        assert set(old) <= shown
        assert sorted(labels[labels >= start].tolist()) == list(range(start + 4, start + 8))
        assert torch.equal(images[:, 0, 0, 0], labels.float())
        assert len(replay.state_dict()["images"]) == len(replay.state_dict()["labels"]) == 20
        shown |= set(range(start, start + 4))


@pytest.mark.parametrize("size", [1, 4, 8])
def test_a_replay_buffer_smaller_than_a_batch_does_not_modify_its_input(size: int) -> None:
    replay = ReplayBuffer(size, CPU)
    for start in range(0, 40, 8):
        given = numbered(start)
        images, labels = replay.mix(*given)
        assert (labels < start).sum() == (min(size, 4) if start else 0)
        assert torch.equal(given[0], numbered(start)[0])
        images.requires_grad_()  # as for R2, which must not tie the buffer to a graph
        assert not replay.state_dict()["images"].requires_grad


def test_a_restored_replay_buffer_mixes_like_the_saved_one() -> None:
    saved, restored = ReplayBuffer(12, CPU), ReplayBuffer(12, CPU)
    for start in (0, 8, 16):
        saved.mix(*numbered(start))
    restored.load_state_dict(saved.state_dict())
    for start in (24, 32, 40):
        mixed = []
        for replay in (saved, restored):
            torch.manual_seed(start)
            mixed.append(replay.mix(*numbered(start)))
        assert torch.equal(mixed[0][0], mixed[1][0])
        assert torch.equal(mixed[0][1], mixed[1][1])


def test_a_replay_buffer_is_restored_to_its_own_device() -> None:
    saved = ReplayBuffer(4, CPU)
    saved.mix(*numbered(0))
    elsewhere = ReplayBuffer(4, torch.device("meta"))
    elsewhere.load_state_dict(saved.state_dict())
    assert elsewhere.state_dict()["images"].device.type == elsewhere.state_dict()["labels"].device.type == "meta"
    empty = ReplayBuffer(4, CPU)
    empty.load_state_dict(ReplayBuffer(4, CPU).state_dict())
    assert empty.state_dict() == {"images": None, "labels": None}


def test_the_weights_of_a_wasserstein_critic_are_clipped() -> None:
    gan = tiny_gan(
        network={"discriminator_norm": "batch"},
        objective={"name": "wasserstein", "weight_clip": 0.01},
        train={"discriminator_optimizer": "rmsprop", "discriminator_lr": 5e-3, "discriminator_steps": 5},
    )
    train_steps(gan, 3)
    largest = [weight.abs().max().item() for weight in gan.discriminator.parameters()]
    assert max(largest) == pytest.approx(0.01)  # such rates push against it
    assert max(weight.abs().max().item() for weight in gan.generator.parameters()) > 0.02


def gradient_norms(clip: float | None) -> list[float]:
    """Gradient norms of both networks in their last optimiser step."""
    gan = tiny_gan(stabilise={"gradient_clip": clip})
    train_steps(gan, 2)
    return [
        torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).norm().item()
        for network in (gan.generator, gan.discriminator)
    ]


def test_gradient_clipping_bounds_both_norms() -> None:
    assert min(gradient_norms(None)) > 2e-3
    assert gradient_norms(1e-3) == pytest.approx([1e-3, 1e-3], rel=0.01)
    assert gradient_norms(1e3) == gradient_norms(None)


def discriminator_input(gan: GANTrainer, images: Tensor) -> Tensor:
    """Input of the discriminator's first layer for images."""
    seen: list[Tensor] = []
    layer = next(module for module in gan.discriminator.modules() if isinstance(module, nn.Conv2d))
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    gan.discriminate_augmented(images, torch.zeros(len(images), dtype=torch.int64))
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("stabilise", [{}, {"augment": "ada"}])
def test_without_stabilisers_the_discriminator_gets_the_images_unchanged(stabilise: dict[str, Any]) -> None:
    gan = tiny_gan(stabilise=stabilise)
    images, _ = next(NoiseBatches(gan))
    assert torch.equal(discriminator_input(gan, images), images)


def test_the_discriminator_gets_instance_noise_until_it_has_faded() -> None:
    gan = tiny_gan(stabilise={"instance_noise": 0.4, "instance_noise_kimg": 0.8})
    images = torch.zeros(64, 1, 28, 28)
    for steps, size in ((0, 0.4), (50, 0.2), (100, 0.0)):
        gan.steps = steps
        assert discriminator_input(gan, images).std().item() == pytest.approx(size, abs=0.01)


def test_the_discriminator_gets_packed_images() -> None:
    gan = tiny_gan(network=UNCONDITIONAL, stabilise={"packing": 4})
    images, _ = next(NoiseBatches(gan))
    assert torch.equal(discriminator_input(gan, images), pack(images, 4))


def test_the_discriminator_gets_augmented_images_always_or_with_probability_p() -> None:
    always, adaptive = tiny_gan(stabilise={"augment": "diffaugment"}), tiny_gan(stabilise={"augment": "ada"})
    images = torch.rand(400, 1, 28, 28) * 2 - 1
    assert (discriminator_input(always, images) != images).flatten(1).any(dim=1).all()
    adaptive.ada.p = 0.3
    changed = (discriminator_input(adaptive, images) != images).flatten(1).any(dim=1).float().mean().item()
    assert changed == pytest.approx(1 - 0.7**3, abs=0.08)  # three kinds of change, each with p = 0.3


def test_r1_is_taken_at_the_pixels_before_augmentation() -> None:
    sections: dict[str, Any] = {"stabilise": {"augment": "diffaugment"}, "objective": {"r1": 1.0}}
    gan, untrained = tiny_gan(**sections), tiny_gan(**sections)
    random_states: list[Tensor] = []  # after the fakes were made, when augmentation begins
    gan.generator.module.register_forward_hook(lambda *_: random_states.append(torch.get_rng_state()))
    real, labels = next(NoiseBatches(gan))
    scalars = gan.step(iter([(real, labels)]))

    torch.set_rng_state(random_states[0])
    real.requires_grad_()
    (pixels,) = torch.autograd.grad(untrained.discriminate_augmented(real, labels).logits.sum(), real)
    torch.testing.assert_close(scalars["penalty"], pixels.square().sum(dim=(1, 2, 3)).mean() / 2)
