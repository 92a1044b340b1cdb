"""Losses are the formulas of their papers, on logits, without overflow."""

import math

import pytest
import torch

from training.losses import non_saturating_d_loss, non_saturating_g_loss


def test_losses_equal_the_formulas_of_goodfellow() -> None:
    real, fake = torch.tensor([0.3, -1.2, 2.0]), torch.tensor([-0.7, 0.1, 1.5])
    d_real, d_fake = real.sigmoid(), fake.sigmoid()

    assert non_saturating_d_loss(real, fake).item() == pytest.approx(
        (-d_real.log() - (1 - d_fake).log()).mean().item(), abs=1e-6
    )
    assert non_saturating_g_loss(fake).item() == pytest.approx((-d_fake.log()).mean().item(), abs=1e-6)


def test_a_discriminator_that_cannot_tell_pays_two_log_two() -> None:
    undecided = torch.zeros(4)
    assert non_saturating_d_loss(undecided, undecided).item() == pytest.approx(2 * math.log(2), abs=1e-6)
    assert non_saturating_g_loss(undecided).item() == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("logit", [-100.0, 100.0])
def test_losses_and_gradients_are_finite_where_a_sigmoid_would_saturate(logit: float) -> None:
    logits = torch.tensor([logit], requires_grad=True)
    loss = non_saturating_d_loss(logits, logits) + non_saturating_g_loss(logits)
    loss.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(loss.item())
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_generators_gradient_survives_a_discriminator_that_is_sure() -> None:
    sure_of_a_fake = torch.tensor([-50.0], requires_grad=True)
    non_saturating_g_loss(sure_of_a_fake).backward()  # type: ignore[no-untyped-call]
    assert sure_of_a_fake.grad is not None
    assert sure_of_a_fake.grad.item() == pytest.approx(-1.0, abs=1e-6)
