"""Tests of one training step: which network learns how often, from which images and along which loss."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.project import FAMILIES
from tests.training.tiny_gan import BF16_MIXED, TWO_TAGS, NoiseBatches, recorded_inputs, tiny_gan, train_steps
from training.gan.trainer import GANTrainer, frozen
from training.networks import DiscriminatorOutput


def gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def all_equal(first: nn.Module, second: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def none_equal(first: nn.Module, second: nn.Module) -> bool:
    return not any(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def updates(optimizer: Any) -> int:
    """Number of steps an optimiser has taken, by its own count."""
    counts = {int(state["step"]) for state in optimizer.state.values()}
    (count,) = counts
    return count


@pytest.mark.parametrize(("for_discriminator", "for_generator"), [(1, 1), (2, 1), (4, 1), (5, 1), (1, 2)])
@pytest.mark.parametrize("objective", ["non-saturating", "relativistic"])
def test_each_network_takes_as_many_optimiser_steps_as_params_say(
    for_discriminator: int, for_generator: int, objective: str
) -> None:
    steps = {"discriminator_steps": for_discriminator, "generator_steps": for_generator}
    gan = tiny_gan(objective={"name": objective}, train=steps)
    batches = NoiseBatches(gan)
    for _ in range(3):
        gan.step(batches)

    assert updates(gan.discriminator_optimizer) == 3 * for_discriminator
    assert updates(gan.generator_optimizer) == 3 * for_generator
    assert gan.images_seen == 3 * for_discriminator * gan.batch_size
    # Paired objectives need new real images in the generator's steps; the others reuse the discriminator's last fakes.
    drawn = for_discriminator + (for_generator if objective == "relativistic" else for_generator - 1)
    assert gan.batches_per_step == drawn
    assert batches.drawn == 3 * drawn


def test_a_step_moves_each_network_by_its_own_optimiser_alone() -> None:
    gan = tiny_gan()
    generator, discriminator = gan.generator.module, gan.discriminator.module
    before = copy.deepcopy((generator, discriminator))
    between: list[tuple[nn.Module, nn.Module]] = []  # after the discriminator's step and before the generator's
    gradients: list[Tensor] = []

    def after_d_step(*_: Any) -> None:
        between.append(copy.deepcopy((generator, discriminator)))
        gradients.extend(gradient(parameter).clone() for parameter in discriminator.parameters())

    gan.discriminator_optimizer.optimizer.register_step_post_hook(after_d_step)
    gan.step(NoiseBatches(gan))

    ((generator_between, discriminator_between),) = between
    assert none_equal(before[1], discriminator_between)
    assert all_equal(before[0], generator_between)
    assert all_equal(discriminator_between, discriminator)
    assert none_equal(generator_between, generator)
    # The generator's loss leaves no gradient in the discriminator, which takes gradients again in the next step.
    assert all(torch.equal(gradient(p), g) for p, g in zip(discriminator.parameters(), gradients, strict=True))
    assert all(parameter.requires_grad for parameter in discriminator.parameters())


def test_the_ema_decays_by_the_images_of_a_whole_step() -> None:
    gan = tiny_gan(train={"discriminator_steps": 3, "ema_half_life_kimg": 0.024, "generator_lr": 0.5})
    gan.steps = 1000  # the half-life, of one step, has ramped up
    start = [weight.clone() for weight in gan.ema.parameters()]
    train_steps(gan, 1)
    for before, now, ema in zip(start, gan.generator.parameters(), gan.ema.parameters(), strict=True):
        torch.testing.assert_close(ema, (before + now) / 2)


SCALARS = {
    *("d_loss", "g_loss", "penalty", "d_real", "d_fake"),
    *("d_real_sign", "d_fake_sign", "d_gradient", "g_gradient"),
}


def test_a_step_returns_losses_penalty_mean_probabilities_and_signs_and_gradient_norms() -> None:
    (scalars,) = train_steps(tiny_gan(objective={"r1": 1.0}), 1)
    assert set(scalars) == SCALARS
    assert scalars["d_loss"] == pytest.approx(2 * math.log(2), abs=0.05)  # it cannot tell them apart yet
    assert scalars["g_loss"] == pytest.approx(math.log(2), abs=0.05)
    assert scalars["d_real"] == pytest.approx(0.5, abs=0.05)
    assert scalars["penalty"] > 0
    assert -1 <= scalars["d_real_sign"] <= 1
    assert scalars["d_gradient"] > 0
    assert scalars["g_gradient"] > 0


def test_the_gradient_norm_is_that_before_clipping() -> None:
    plain, clipped = tiny_gan(), tiny_gan(stabilise={"gradient_clip": 1e-3})
    (before,), (after,) = train_steps(plain, 1), train_steps(clipped, 1)
    norm = torch.cat([weight.grad.flatten() for weight in plain.discriminator.parameters()]).norm().item()
    assert before["d_gradient"] == pytest.approx(norm, rel=1e-4)
    assert after["d_gradient"] == before["d_gradient"] > 1e-3


@pytest.mark.parametrize("penalty", ["r1", "r2", "gradient_penalty"])
@pytest.mark.parametrize("objective", ["least-squares", "relativistic"])
def test_the_gradient_of_the_penalty_is_added_to_that_of_the_loss(penalty: str, objective: str) -> None:
    weight = 100.0
    plain = tiny_gan(network=FAMILIES["dense"], objective={"name": objective})
    penalised = tiny_gan(network=FAMILIES["dense"], objective={"name": objective, penalty: weight})
    critic = copy.deepcopy(plain.discriminator.module)
    plain.step(NoiseBatches(plain))
    with recorded_inputs(penalised.discriminator.module) as calls:
        penalised.step(NoiseBatches(penalised))

    (images, labels) = calls[{"r1": 0, "r2": 1, "gradient_penalty": 2}[penalty]]  # real images, fakes, interpolates
    images.requires_grad_()
    pixels = torch.autograd.grad(critic(images, labels).logits.sum(), images, create_graph=True)[0].flatten(1)
    if penalty == "gradient_penalty":
        expected = (pixels.norm(dim=1) - 1).square().mean()
    else:
        expected = pixels.square().sum(dim=1).mean() / 2
    (weight * expected).backward()  # type: ignore[no-untyped-call]

    reached = {name: p.grad for name, p in critic.named_parameters() if p.grad is not None}
    assert {name for name, grad in reached.items() if grad.abs().max() > 1e-3} >= {"features.1.weight"}
    without, along = (dict(gan.discriminator.module.named_parameters()) for gan in (plain, penalised))
    for name, grad in reached.items():
        torch.testing.assert_close(gradient(along[name]) - gradient(without[name]), grad, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "stabilise",
    [{"replay": 8}, {"augment": "diffaugment"}, {"instance_noise": 0.5, "instance_noise_kimg": 1}],
    ids=["replay", "augmentation", "noise"],
)
def test_the_gradient_penalty_is_taken_between_reals_and_fresh_unaugmented_fakes_of_their_classes(
    stabilise: dict[str, Any],
) -> None:
    gan = tiny_gan(network=FAMILIES["dense"], objective={"gradient_penalty": 1.0}, stabilise=stabilise)
    train_steps(gan, 3)  # a replay buffer is full by now, of fakes of other classes
    real, labels = next(NoiseBatches(gan, drawn=100))
    critic = copy.deepcopy(gan.discriminator.module)
    fakes: list[Tensor] = []
    gan.generator.module.register_forward_hook(lambda _, __, images: fakes.append(images.detach()))
    with recorded_inputs(gan.discriminator.module) as calls:
        scalars = gan.step(iter([(real, labels)]))

    (fresh,), (between, their_labels) = fakes, calls[2]  # after the real images and the fakes
    assert torch.equal(their_labels, labels)
    way = fresh - real
    share = ((between - real) * way).sum(dim=(1, 2, 3), keepdim=True) / way.square().sum(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(between, real + share * way)
    between.requires_grad_()
    slope = torch.autograd.grad(critic(between, labels).logits.sum(), between)[0].flatten(1).norm(dim=1)
    torch.testing.assert_close(scalars["penalty"], (slope - 1).square().mean())


def test_frozen_weights_take_gradients_again_after_an_error() -> None:
    network = nn.Linear(2, 2)

    def failing_step() -> None:
        with frozen(network):
            assert not any(parameter.requires_grad for parameter in network.parameters())
            raise MemoryError

    with pytest.raises(MemoryError):
        failing_step()
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_step_leaves_no_graph_on_the_batch() -> None:
    gan = tiny_gan(objective={"name": "relativistic", "r1": 1.0, "r2": 1.0}, stabilise={"replay": 8})
    batches = [next(NoiseBatches(gan, drawn=number)) for number in range(gan.batches_per_step)]
    gan.step(iter(batches))
    assert not any(images.requires_grad for images, _ in batches)


def test_both_networks_learn_from_the_auxiliary_loss() -> None:
    gan = tiny_gan(TWO_TAGS, network=FAMILIES["dense"] | {"condition": "auxiliary"})
    real, labels = next(NoiseBatches(gan))
    labels = torch.full_like(labels, 2)  # of one tag, in data where other classes have several
    generator, critic = copy.deepcopy((gan.generator.module, gan.discriminator.module))
    with recorded_inputs(gan.generator.module) as calls:
        gan.step(iter([(real, labels)]))
    ((z, _),) = calls
    fake = generator(z, labels)

    def entropy(output: DiscriminatorOutput) -> Tensor:
        assert output.tag_logits is not None
        sums = nn.functional.binary_cross_entropy_with_logits(output.tag_logits, TWO_TAGS[labels], reduction="sum")
        return sums / len(labels)

    assert critic.classifier is not None
    (expected,) = torch.autograd.grad(entropy(critic(real)) + entropy(critic(fake.detach())), critic.classifier.weight)
    torch.testing.assert_close(gradient(gan.discriminator.module.classifier.weight), expected)

    output = gan.discriminator.module(fake, labels)  # with the weights that the generator's step saw
    loss = entropy(output) - output.logits.sigmoid().log().mean()
    grads = torch.autograd.grad(loss, list(generator.parameters()))
    for parameter, grad in zip(gan.generator.module.parameters(), grads, strict=True):
        torch.testing.assert_close(gradient(parameter), grad)


def test_logits_are_float32_under_bf16_autocast_too() -> None:
    gan = tiny_gan(precision=BF16_MIXED, network={"condition": "auxiliary"})
    output = gan.discriminate_augmented(*next(NoiseBatches(gan)))
    assert output.tag_logits is not None
    assert output.logits.dtype == output.tag_logits.dtype == torch.float32


def test_real_images_under_every_wrong_class_count_as_half_of_the_fakes() -> None:
    gan = tiny_gan(4, objective={"mismatched": True}, train={"batch": 2000})
    real, _ = next(NoiseBatches(gan))
    labels = torch.arange(4).repeat(500)
    critic = copy.deepcopy(gan.discriminator.module)
    with recorded_inputs(gan.discriminator.module) as calls:
        scalars = gan.step(iter([(real, labels)]))

    (_, (fake, _), (images, wrong), _) = calls  # real images, fakes, mismatched ones; and fakes for the generator
    assert torch.equal(images, real)
    for label in range(4):
        shares = torch.bincount(wrong[labels == label], minlength=4) / 500
        expected = [0.0 if other == label else 1 / 3 for other in range(4)]
        assert shares.tolist() == pytest.approx(expected, abs=0.1)
        assert shares[label] == 0
    probabilities = [critic(*shown).logits.sigmoid() for shown in ((real, labels), (fake, labels), (real, wrong))]
    on_real, on_fake, on_mismatched = probabilities
    loss = -on_real.log().mean() - torch.cat([1 - on_fake, 1 - on_mismatched]).log().mean()
    torch.testing.assert_close(scalars["d_loss"], loss.detach())


def set_constant_logit(gan: GANTrainer, logit: float) -> None:
    """Make the discriminator output this logit for every image."""
    nn.init.zeros_(gan.discriminator.head.weight)
    nn.init.constant_(gan.discriminator.head.bias, logit)


def test_ada_raises_p_while_the_discriminator_recognises_all_reals_and_lowers_it_otherwise() -> None:
    slow = {"discriminator_lr": 1e-8, "generator_lr": 1e-8}
    # 4 batches of 8 images are a tenth of the 0.32 kimg from never to always.
    gan = tiny_gan(network={"kernel": 5}, stabilise={"augment": "ada", "ada_kimg": 0.32}, train=slow)
    probabilities = []
    for logit, steps in ((1.0, 3), (1.0, 1), (1.0, 8), (-1.0, 4), (-1.0, 16)):
        set_constant_logit(gan, logit)
        train_steps(gan, steps)
        probabilities.append(gan.ada.p)
    assert probabilities == pytest.approx([0, 0.1, 0.3, 0.2, 0])

    set_constant_logit(gan, 1.0)
    train_steps(gan, 6)
    again = tiny_gan(network={"kernel": 5}, stabilise={"augment": "ada", "ada_kimg": 0.32}, train=slow)
    again.load_state_dict(copy.deepcopy(gan.state_dict()))
    assert again.ada.p == gan.ada.p == pytest.approx(0.1)
    train_steps(again, 2)
    assert again.ada.p == pytest.approx(0.2)  # the two batches counted before were not forgotten
