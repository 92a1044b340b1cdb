"""The two players: networks, optimisers, the generator's average, and one step of the game."""

import copy
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam

from training import networks
from training.ema import ema_decay, update_ema
from training.losses import non_saturating_d_loss, non_saturating_g_loss
from training.params import Params


class GAN:
    """A generator and a discriminator in training. `steps` counts the steps taken so far."""

    def __init__(self, params: Params, classes: int, fabric: Fabric) -> None:
        train = params.train
        torch.manual_seed(train.seed)
        generator, discriminator = networks.build(params.network, params.data.resolution, params.data.channels, classes)
        if fabric.device.type == "cuda":
            generator = generator.to(memory_format=torch.channels_last)
            discriminator = discriminator.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(generator).to(fabric.device).eval().requires_grad_(False)
        self.batch = train.batch
        self.classes = classes
        self.latent_dim = params.network.latent_dim
        self.ema_half_life_kimg = train.ema_half_life_kimg
        self.fabric = fabric
        self.generator, self.generator_optimizer = fabric.setup(
            generator, _adam(generator, train.generator_lr, train.beta1, train.beta2)
        )
        self.discriminator, self.discriminator_optimizer = fabric.setup(
            discriminator, _adam(discriminator, train.discriminator_lr, train.beta1, train.beta2)
        )
        self.steps = 0

    @property
    def images_seen(self) -> int:
        """Real images shown to the discriminator so far."""
        return self.steps * self.batch

    def step(self, real: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One step of each player. The fakes are made once and serve both, with the labels of the reals.

        real: [batch, C, H, W] in [-1, 1]; labels: [batch]. Returns scalars, left on the device so that
        nothing waits for a GPU: both losses in nats, mean D(x) and mean D(G(z)) as probabilities.
        """
        z = torch.randn(len(real), self.latent_dim, device=real.device)
        fake = self.generator(z, labels)

        real_logits = self.discriminator(real, labels)
        fake_logits = self.discriminator(fake.detach(), labels)
        d_loss = non_saturating_d_loss(real_logits, fake_logits)
        self._descend(d_loss, self.discriminator_optimizer)

        # The generator's gradient passes through the discriminator's weights but not into them.
        self.discriminator.requires_grad_(False)
        g_loss = non_saturating_g_loss(self.discriminator(fake, labels))
        self._descend(g_loss, self.generator_optimizer)
        self.discriminator.requires_grad_(True)

        self.steps += 1
        update_ema(self.average, self.generator, ema_decay(self.batch, self.ema_half_life_kimg, self.images_seen))
        return {
            "d_loss": d_loss.detach(),
            "g_loss": g_loss.detach(),
            "d_real": real_logits.detach().sigmoid().mean(),
            "d_fake": fake_logits.detach().sigmoid().mean(),
        }

    def state(self) -> dict[str, Any]:
        """All that a run needs to go on: tensors and numbers, no classes of ours."""
        return {
            "steps": self.steps,
            "average": self.average.state_dict(),
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up where `state` was recorded."""
        self.steps = state["steps"]
        self.average.load_state_dict(state["average"])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def _descend(self, loss: Tensor, optimizer: Any) -> None:
        optimizer.zero_grad()
        self.fabric.backward(loss)
        optimizer.step()


def _adam(network: nn.Module, rate: float, beta1: float, beta2: float) -> Adam:
    return Adam(network.parameters(), lr=rate, betas=(beta1, beta2), fused=True)
