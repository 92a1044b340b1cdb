"""One step of the game: who plays how often, on what, with which optimiser and at what pace."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer, RMSprop

from tests.training.project import FAMILIES
from tests.training.tiny_gan import AS_ON_A_GPU, TWO_TAGS, Batches, play, tiny_gan
from training.gan.penalties import one_centred_penalty, zero_centred_penalty
from training.gan.trainer import Batch, GANTrainer, frozen


def updates(optimizer: Any) -> int:
    """How often an optimiser has moved its weights, by its own count."""
    counts = {int(state["step"]) for state in optimizer.state.values()}
    (count,) = counts
    return count


@pytest.mark.parametrize(("for_discriminator", "for_generator"), [(1, 1), (2, 1), (4, 1), (5, 1), (1, 2)])
@pytest.mark.parametrize("objective", ["non-saturating", "relativistic"])
def test_players_take_the_steps_that_were_asked_for(for_discriminator: int, for_generator: int, objective: str) -> None:
    steps = {"discriminator_steps": for_discriminator, "generator_steps": for_generator}
    gan = tiny_gan(objective={"name": objective}, train=steps)
    batches = Batches(gan)
    for _ in range(3):
        gan.step(batches)

    assert updates(gan.discriminator_optimizer) == 3 * for_discriminator
    assert updates(gan.generator_optimizer) == 3 * for_generator
    assert gan.images_seen == 3 * for_discriminator * gan.batch
    # Fakes that are paired need real images of their own; the others share the discriminator's last ones.
    drawn = for_discriminator + (for_generator if objective == "relativistic" else for_generator - 1)
    assert gan.batches_per_step == drawn
    assert batches.drawn == 3 * drawn


def test_each_player_leaves_the_other_as_it_was() -> None:
    gan = tiny_gan()
    batches = Batches(gan)
    real, labels = next(batches)
    before = copy.deepcopy([player.state_dict() for player in (gan.generator, gan.discriminator)])
    fake = gan._fakes(labels)
    weights = {name for name, _ in gan.generator.module.named_parameters()}

    gan._improve_discriminator(real, fake.detach(), labels, pressure=1.0)
    assert all(torch.equal(before[0][name], gan.generator.state_dict()[name]) for name in weights)
    after = copy.deepcopy(gan.discriminator.state_dict())
    assert any(not torch.equal(before[1][name], now) for name, now in after.items())

    slopes = [parameter.grad.clone() for parameter in gan.discriminator.parameters() if parameter.grad is not None]
    gan._improve_generator(fake, real, labels)
    assert all(torch.equal(after[name], now) for name, now in gan.discriminator.state_dict().items())
    assert all(torch.equal(p.grad, slope) for p, slope in zip(gan.discriminator.parameters(), slopes, strict=True))
    assert all(parameter.requires_grad for parameter in gan.discriminator.parameters())
    assert all(not torch.equal(before[0][name], gan.generator.state_dict()[name]) for name in weights)


def test_the_average_follows_the_generator_by_the_images_of_a_whole_step() -> None:
    gan = tiny_gan(train={"discriminator_steps": 3, "ema_half_life_kimg": 0.024, "generator_lr": 0.5})
    gan.steps = 1000  # the half-life, of one step, has ramped up
    start = [weight.clone() for weight in gan.ema.parameters()]
    play(gan, 1)
    for before, now, average in zip(start, gan.generator.parameters(), gan.ema.parameters(), strict=True):
        torch.testing.assert_close(average, (before + now) / 2)


def test_the_scalars_are_the_losses_and_what_the_discriminator_thinks() -> None:
    (scalars,) = play(tiny_gan(objective={"r1": 1.0}), 1)
    assert set(scalars) == {"d_loss", "g_loss", "d_real", "d_fake", "penalty"}
    assert scalars["d_loss"] == pytest.approx(2 * math.log(2), abs=0.05)  # it cannot tell yet
    assert scalars["g_loss"] == pytest.approx(math.log(2), abs=0.05)
    assert scalars["d_real"] == pytest.approx(0.5, abs=0.05)
    assert scalars["penalty"] > 0


def slopes_of_discriminator(gan: GANTrainer, batch: Batch, fake: Tensor) -> dict[str, Tensor]:
    """The gradient along which the discriminator descends."""
    torch.manual_seed(0)
    gan._improve_discriminator(batch[0].clone(), fake.clone(), batch[1], pressure=1.0)
    return {name: p.grad for name, p in gan.discriminator.module.named_parameters() if p.grad is not None}


def by_hand(penalty: str, critic: nn.Module, batch: Batch, fake: Tensor) -> Tensor:
    real, labels = batch[0].clone().requires_grad_(), batch[1]
    fake = fake.clone().requires_grad_()
    if penalty == "gradient_penalty":
        torch.manual_seed(0)
        return one_centred_penalty(lambda images: critic(images, labels).logits, real.detach(), fake.detach())
    images = real if penalty == "r1" else fake
    return zero_centred_penalty(critic(images, labels).logits, images)


@pytest.mark.parametrize("penalty", ["r1", "r2", "gradient_penalty"])
@pytest.mark.parametrize("objective", ["least-squares", "relativistic"])
def test_the_discriminator_descends_along_its_penalty_too(penalty: str, objective: str) -> None:
    weight = 100.0
    network = FAMILIES["dense"]
    plain = tiny_gan(network=network, objective={"name": objective})
    penalised = tiny_gan(network=network, objective={"name": objective, penalty: weight})
    batch = next(Batches(plain))
    fake = torch.rand(batch[0].shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    critic = copy.deepcopy(plain.discriminator.module)
    (weight * by_hand(penalty, critic, batch, fake)).backward()  # type: ignore[no-untyped-call]

    without, along = (slopes_of_discriminator(gan, batch, fake) for gan in (plain, penalised))

    expected = {name: p.grad for name, p in critic.named_parameters() if p.grad is not None}
    assert {name for name, slope in expected.items() if slope.abs().max() > 1e-3} >= {"features.1.weight"}
    for name, slope in expected.items():
        torch.testing.assert_close(along[name] - without[name], slope, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "stabilise",
    [{"replay": 8}, {"augment": "diffaugment"}, {"instance_noise": 0.5, "instance_noise_kimg": 1}],
    ids=["replay", "augmentation", "noise"],
)
def test_the_gradient_penalty_is_taken_between_reals_and_fresh_fakes_of_their_classes_as_they_are(
    stabilise: dict[str, Any],
) -> None:
    gan = tiny_gan(network=FAMILIES["dense"], objective={"gradient_penalty": 1.0}, stabilise=stabilise)
    play(gan, 3)  # a replay is full by now, of fakes of other classes
    real, labels = next(Batches(gan, drawn=100))
    fresh = torch.rand(real.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    critic, seen = copy.deepcopy(gan.discriminator.module), []
    gan.discriminator.module.register_forward_pre_hook(lambda _, given: seen.append(given))

    scalars = gan._improve_discriminator(real, fresh, labels, pressure=1.0)

    _, _, (between, asked) = seen  # real images, fakes, and the points of the penalty
    assert torch.equal(asked, labels)
    way = fresh - real
    share = ((between - real) * way).sum(dim=(1, 2, 3), keepdim=True) / way.square().sum(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(between, real + share * way)
    slope = torch.autograd.grad(critic(between, labels).logits.sum(), between)[0].flatten(1).norm(dim=1)
    torch.testing.assert_close(scalars["penalty"], (slope - 1).square().mean())


def test_weights_take_gradients_again_after_a_step_that_failed() -> None:
    network = nn.Linear(2, 2)

    def failing_step() -> None:
        with frozen(network):
            assert not any(parameter.requires_grad for parameter in network.parameters())
            raise MemoryError

    with pytest.raises(MemoryError):
        failing_step()
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_step_leaves_the_batch_that_it_was_given_without_a_graph() -> None:
    gan = tiny_gan(objective={"name": "relativistic", "r1": 1.0, "r2": 1.0}, stabilise={"replay": 8})
    given = [next(Batches(gan, drawn=number)) for number in range(gan.batches_per_step)]
    gan.step(iter(given))
    assert not any(images.requires_grad for images, _ in given)


def test_both_players_descend_along_the_auxiliary_loss_too() -> None:
    gan = tiny_gan(TWO_TAGS, network=FAMILIES["dense"] | {"condition": "auxiliary"})
    real, labels = next(Batches(gan))
    labels = torch.full_like(labels, 2)  # of one tag, in data where others have several
    critic = copy.deepcopy(gan.discriminator.module)
    classify = critic.classify
    assert classify is not None
    wanted, verdict = TWO_TAGS[labels], critic(real)
    entropy = nn.functional.binary_cross_entropy_with_logits(verdict.tag_logits, wanted, reduction="sum") / len(real)
    expected = torch.autograd.grad(entropy, classify.weight)[0]
    slopes = slopes_of_discriminator(gan, (real, labels), torch.zeros_like(real))
    torch.testing.assert_close(slopes["classify.weight"], expected)

    fake = gan._fakes(labels)
    verdict = gan.discriminator.module(fake, labels)
    entropy = nn.functional.binary_cross_entropy_with_logits(verdict.tag_logits, wanted, reduction="sum") / len(real)
    loss = entropy - verdict.logits.sigmoid().log().mean()
    weights = list(gan.generator.parameters())
    expected_slopes = torch.autograd.grad(loss, weights, retain_graph=True)
    gan._improve_generator(fake, real, labels)
    for parameter, slope in zip(weights, expected_slopes, strict=True):
        torch.testing.assert_close(parameter.grad, slope)


def test_losses_are_taken_in_single_precision_on_a_gpu_too() -> None:
    gan = tiny_gan(arithmetic=AS_ON_A_GPU, network={"condition": "auxiliary"})
    verdict = gan.judge(*next(Batches(gan)))
    assert verdict.tag_logits is not None
    assert verdict.logits.dtype == verdict.tag_logits.dtype == torch.float32


def test_mismatched_shows_real_images_with_every_class_but_their_own() -> None:
    gan = tiny_gan(4, objective={"mismatched": True})
    asked: list[Tensor] = []
    gan.discriminator.embedding.register_forward_hook(lambda _, given, __: asked.append(given[0]))
    labels = torch.arange(4).repeat(500)
    logits = gan._mismatched(torch.zeros(2000, 1, 28, 28), labels)
    assert logits.shape == (2000,)
    (wrong,) = asked
    for label in range(4):
        shares = torch.bincount(wrong[labels == label], minlength=4) / 500
        expected = [0.0 if other == label else 1 / 3 for other in range(4)]
        assert shares.tolist() == pytest.approx(expected, abs=0.1)
        assert shares[label] == 0


def kind(optimizer: Any) -> type[Optimizer]:
    return type(optimizer.optimizer)


@pytest.mark.parametrize(
    ("name", "made", "settings"),
    [
        ("adam", Adam, {"betas": (0.3, 0.8)}),
        ("rmsprop", RMSprop, {"alpha": 0.8, "momentum": 0}),
        ("sgd", SGD, {"momentum": 0.3, "nesterov": False}),
    ],
)
def test_each_player_has_the_optimiser_that_was_asked_for(
    name: str, made: type[Optimizer], settings: dict[str, Any]
) -> None:
    other, made_other = ("adam", Adam) if name != "adam" else ("sgd", SGD)
    rates = {"generator_lr": 2e-4, "discriminator_lr": 5e-5, "beta1": 0.3, "beta2": 0.8}
    for player, opponent in (("generator", "discriminator"), ("discriminator", "generator")):
        gan = tiny_gan(train=rates | {f"{player}_optimizer": name, f"{opponent}_optimizer": other})
        play(gan, 2)
        optimizers = {"generator": gan.generator_optimizer, "discriminator": gan.discriminator_optimizer}
        assert kind(optimizers[player]) is made
        assert kind(optimizers[opponent]) is made_other
        (group,) = optimizers[player].param_groups
        assert group["lr"] == rates[f"{player}_lr"]
        assert {key: group[key] for key in settings} == settings


BURN_IN = {"kimg": 0.08, "penalty_factor": 10.0, "rate_factor": 4.0, "beta2": 0.5}  # of 10 steps


def test_the_burn_in_starts_and_ends_at_the_values_asked_for_and_reaches_the_optimisers() -> None:
    gan = tiny_gan(train={"burn_in": BURN_IN, "discriminator_lr": 2e-4, "discriminator_optimizer": "rmsprop"})
    rates, memories = [], []
    for _ in range(12):
        play(gan, 1)
        (generator,), (discriminator,) = gan.generator_optimizer.param_groups, gan.discriminator_optimizer.param_groups
        rates.append((generator["lr"], discriminator["lr"]))
        memories.append((generator["betas"], discriminator["alpha"]))
    assert rates[0] == (4e-3, 8e-4)
    assert rates[5] == pytest.approx((2.5e-3, 5e-4))
    assert rates[10] == rates[11] == (1e-3, 2e-4)
    assert rates == sorted(rates, reverse=True)
    assert memories[0] == ((0.5, 0.5), 0.5)
    assert memories[5] == (pytest.approx((0.5, 0.745)), pytest.approx(0.745))
    assert memories[10] == memories[11] == ((0.5, 0.99), 0.99)


@pytest.mark.parametrize("penalty", ["r1", "r2"])
def test_the_burn_in_makes_the_penalty_stronger_at_the_start(penalty: str) -> None:
    plain, stronger = (
        tiny_gan(objective={penalty: 1.0}, train={"burn_in": BURN_IN | {"penalty_factor": factor}})
        for factor in (1.0, 10.0)
    )
    (first,), (tenfold,) = play(plain, 1), play(stronger, 1)
    assert tenfold["penalty"] == pytest.approx(10 * first["penalty"], rel=1e-4)
    plain.steps = stronger.steps = 10
    stronger.discriminator.load_state_dict(plain.discriminator.state_dict())
    stronger.generator.load_state_dict(plain.generator.state_dict())
    assert play(stronger, 1)[0]["penalty"] == pytest.approx(play(plain, 1)[0]["penalty"], rel=1e-4)


def certain(gan: GANTrainer, logit: float) -> None:
    """Makes the discriminator judge every image by this logit, whatever it shows."""
    nn.init.zeros_(gan.discriminator.logit.weight)
    nn.init.constant_(gan.discriminator.logit.bias, logit)


def test_ada_augments_more_while_the_discriminator_knows_all_reals_and_less_while_it_does_not() -> None:
    slow = {"discriminator_lr": 1e-8, "generator_lr": 1e-8}
    # 4 batches of 8 images are a tenth of the 0.32 kimg from never to always.
    gan = tiny_gan(network={"kernel": 5}, stabilise={"augment": "ada", "ada_kimg": 0.32}, train=slow)
    probabilities = []
    for logit, steps in ((1.0, 3), (1.0, 1), (1.0, 8), (-1.0, 4), (-1.0, 16)):
        certain(gan, logit)
        play(gan, steps)
        probabilities.append(gan.adaptive.p)
    assert probabilities == pytest.approx([0, 0.1, 0.3, 0.2, 0])

    certain(gan, 1.0)
    play(gan, 6)
    again = tiny_gan(network={"kernel": 5}, stabilise={"augment": "ada", "ada_kimg": 0.32}, train=slow)
    again.restore(copy.deepcopy(gan.state()))
    assert again.adaptive.p == gan.adaptive.p == pytest.approx(0.1)
    play(again, 2)
    assert again.adaptive.p == pytest.approx(0.2)  # the two batches counted before were not forgotten
