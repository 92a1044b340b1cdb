"""Tests of the EMA: its closed form, half-life and ramp-up."""

import pytest
import torch
from torch import nn

from training.gan.ema import ema_decay, set_standing_statistics, update_ema


def test_the_ema_equals_the_closed_form() -> None:
    network, ema = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(ema.weight)
    decay, values = 0.8, [1.0, -2.0, 0.5, 3.0]
    for value in values:
        nn.init.constant_(network.weight, value)
        update_ema(ema, network, decay)

    expected = sum((1 - decay) * decay ** (len(values) - 1 - i) * value for i, value in enumerate(values))
    assert ema.weight.item() == pytest.approx(expected, abs=1e-6)


def test_half_of_the_ema_remains_after_one_half_life() -> None:
    batch, half_life_kimg = 50, 10.0
    decay = ema_decay(batch, half_life_kimg, images_seen=10_000_000)
    assert decay ** (half_life_kimg * 1000 / batch) == pytest.approx(0.5)


def test_the_half_life_ramps_up_with_the_images_seen() -> None:
    decays = [ema_decay(64, 10.0, seen) for seen in (64, 6_400, 64_000, 200_000, 2_000_000)]
    assert decays == sorted(decays)
    assert decays[0] < 1e-5
    assert decays[-2] == decays[-1]


def test_no_half_life_means_no_averaging() -> None:
    network, ema = nn.Linear(2, 2), nn.Linear(2, 2)
    update_ema(ema, network, ema_decay(64, 0.0, 64_000))
    assert torch.equal(ema.weight, network.weight)


def test_buffers_are_copied() -> None:
    network, ema = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    network(torch.randn(8, 3) + 5)
    update_ema(ema, network, 0.999)
    assert torch.equal(ema.running_mean, network.running_mean)
    assert torch.equal(ema.num_batches_tracked, network.num_batches_tracked)


class Labelled(nn.Module):
    """z [N, 2], label [N] -> batch norm of z shifted by the label."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        normalised: torch.Tensor = self.norm(z + label[:, None])
        return self.dropout(normalised)


def test_standing_statistics_are_those_of_the_networks_own_fakes_of_the_classes_in_the_data() -> None:
    network = Labelled().eval()
    network.norm.running_mean.fill_(9.0)  # type: ignore[union-attr]
    labels = torch.tensor([0, 0, 0, 4])
    set_standing_statistics(network, 2, labels, batch=64)
    assert network.norm.running_mean is not None
    assert network.norm.running_var is not None
    assert network.norm.running_mean.tolist() == pytest.approx([1, 1], abs=0.25)
    assert network.norm.running_var.tolist() == pytest.approx([4, 4], abs=0.8)
    assert not any(module.training for module in network.modules())
    again = Labelled().eval()
    set_standing_statistics(again, 2, labels, batch=64)
    assert torch.equal(again.norm.running_mean, network.norm.running_mean)  # type: ignore[arg-type]
