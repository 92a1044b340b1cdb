"""What the two networks minimise: pure functions of logits. No sigmoid is ever applied before them."""

from torch import Tensor
from torch.nn.functional import softplus


def non_saturating_d_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-log D(x) - log(1 - D(G(z))): the discriminator's loss (Goodfellow et al. 2014, eq. 1).

    real_logits, fake_logits: [N]. Returns the batch mean in nats; 2 log 2 where D cannot tell.
    With D = sigmoid(logit), -log D = softplus(-logit), which neither overflows nor saturates.
    """
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


def non_saturating_g_loss(fake_logits: Tensor) -> Tensor:
    """-log D(G(z)): the generator's loss with strong gradients early on (Goodfellow et al. 2014, section 3).

    fake_logits: [N]. Returns the batch mean in nats; log 2 where D cannot tell.
    """
    return softplus(-fake_logits).mean()
