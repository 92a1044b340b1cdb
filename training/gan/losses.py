"""What the two networks minimise: pure functions of logits. No sigmoid is ever applied before them.

An objective says what an image costs when its logit is judged against the label real or fake, and what its
fakes cost a generator. `discriminator_loss` and `generator_loss` average that over a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, relu, softplus


@dataclass(frozen=True)
class Objective:
    """The cost of single logits, each a function [N] -> [N]."""

    as_real: Callable[[Tensor], Tensor]  # to the discriminator, of an image labelled real
    as_fake: Callable[[Tensor], Tensor]  # to the discriminator, of an image labelled fake
    generator: Callable[[Tensor], Tensor]  # to the generator, of a fake
    paired: bool = False  # whether the logits are differences between a real image and a fake


def minus_log_d(logits: Tensor) -> Tensor:
    """-log D(x) in nats with D = sigmoid(logit): softplus(-logit), which neither overflows nor saturates."""
    return softplus(-logits)


def minus_log_one_minus_d(logits: Tensor) -> Tensor:
    """-log(1 - D(x)) in nats."""
    return softplus(logits)


def log_one_minus_d(logits: Tensor) -> Tensor:
    """log(1 - D(x)) in nats, the generator's side of the minimax game; flat where D is sure of a fake."""
    return -softplus(logits)


def half_square_to_one(logits: Tensor) -> Tensor:
    """(D(x) - 1)^2 / 2."""
    return (logits - 1).square() / 2


def half_square(logits: Tensor) -> Tensor:
    """D(x)^2 / 2."""
    return logits.square() / 2


def hinge_above(logits: Tensor) -> Tensor:
    """max(0, 1 - D(x)): no more to gain above 1."""
    return relu(1 - logits)


def hinge_below(logits: Tensor) -> Tensor:
    """max(0, 1 + D(x)): no more to gain below -1."""
    return relu(1 + logits)


def score(logits: Tensor) -> Tensor:
    """D(x) itself, which a critic lowers for fakes."""
    return logits


def minus_score(logits: Tensor) -> Tensor:
    """-D(x), which a critic lowers for real images and a generator for its own."""
    return -logits


OBJECTIVES = {
    # Goodfellow et al. 2014, eq. 1, and its section 3 for the form that everyone trains.
    "saturating": Objective(minus_log_d, minus_log_one_minus_d, log_one_minus_d),
    "non-saturating": Objective(minus_log_d, minus_log_one_minus_d, minus_log_d),
    # Mao et al. 2017, eq. 9.
    "least-squares": Objective(half_square_to_one, half_square, half_square_to_one),
    # Lim and Ye 2017; Miyato et al. 2018, eq. 16 and 17.
    "hinge": Objective(hinge_above, hinge_below, minus_score),
    # Arjovsky et al. 2017, eq. 2.
    "wasserstein": Objective(minus_score, score, minus_score),
    # Jolicoeur-Martineau 2018: a real image is to score above the fake it is paired with.
    "relativistic": Objective(minus_log_d, minus_log_one_minus_d, minus_log_d, paired=True),
}


@dataclass(frozen=True)
class Targets:
    """How real each image is said to be, 1 real and 0 fake: [N] for real images and [M] for fakes."""

    real: Tensor
    fake: Tensor


def discriminator_loss(
    objective: Objective, real_logits: Tensor, fake_logits: Tensor, targets: Targets | None = None
) -> Tensor:
    """The discriminator's mean cost of real images, logits [N], and of fakes, logits [M]; pairs need M = N.

    targets: None calls every real image real and every fake fake; anything between weighs both costs.
    """
    if objective.paired:
        return objective.as_real(real_logits - fake_logits).mean()
    if targets is None:
        return objective.as_real(real_logits).mean() + objective.as_fake(fake_logits).mean()
    return _blend(objective, real_logits, targets.real) + _blend(objective, fake_logits, targets.fake)


def generator_loss(objective: Objective, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """The generator's mean cost of its fakes, logits [N]; real_logits [N] where the objective pairs them."""
    if objective.paired:
        if real_logits is None:
            raise ValueError("a paired objective needs the logits of real images")
        return objective.generator(fake_logits - real_logits).mean()
    return objective.generator(fake_logits).mean()


def auxiliary_loss(tag_logits: Tensor, tags: Tensor, one_tag_each: bool) -> Tensor:
    """How badly the auxiliary classifier names an image's class, in nats (Odena et al. 2017, eq. 3).

    tag_logits: [N, tags]; tags: float [N, tags], 1 where the image has the tag. one_tag_each: no class of the data
    has several tags, so that they exclude one another; otherwise each tag is a question of its own, and their costs
    are summed.
    """
    if one_tag_each:
        return cross_entropy(tag_logits, tags)
    return binary_cross_entropy_with_logits(tag_logits, tags, reduction="none").sum(dim=1).mean()


def _blend(objective: Objective, logits: Tensor, real: Tensor) -> Tensor:
    return (real * objective.as_real(logits) + (1 - real) * objective.as_fake(logits)).mean()
