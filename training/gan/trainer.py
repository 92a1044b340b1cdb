"""The two players: networks, optimisers, the generator's average, and one step of the game."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from training import networks
from training.data.batches import derive_seed
from training.gan.augment import AdaptiveP, augment
from training.gan.ema import ema_decay, update_ema
from training.gan.losses import OBJECTIVES, auxiliary_loss, discriminator_loss, generator_loss
from training.gan.optimizers import apply_schedule, make_optimizer, schedule_values
from training.gan.penalties import one_centred_penalty, zero_centred_penalty
from training.gan.stabilisers import ReplayBuffer, clip_weights, instance_noise, pack, soften_labels
from training.networks import DiscriminatorOutput
from training.params import Params

Batch = tuple[Tensor, Tensor]  # real images [batch, C, H, W] in [-1, 1] and labels [batch]


class GANTrainer:
    """A generator and a discriminator in training. `steps` counts the steps taken so far.

    tags: float [classes, tags], 1 where a class has a tag; None for data without classes. players: the
    generator and the discriminator, where they are not those that params.yaml names.
    """

    def __init__(
        self,
        params: Params,
        tags: Tensor | None,
        fabric: Fabric,
        players: tuple[networks.Generator, networks.Discriminator] | None = None,
    ) -> None:
        train = params.train
        torch.manual_seed(train.seed)
        if params.network.condition == "none":
            tags = None
        generator, discriminator = players or networks.build(params, tags)
        if fabric.device.type == "cuda":
            generator = generator.to(memory_format=torch.channels_last)
            discriminator = discriminator.to(memory_format=torch.channels_last)
        self.ema = copy.deepcopy(generator).to(fabric.device).eval().requires_grad_(False)
        self.params = params
        self.objective = OBJECTIVES[params.objective.name]
        self.batch = train.batch
        self.classes = 0 if tags is None else len(tags)
        self.tags = None if tags is None else tags.to(fabric.device)
        self.one_tag_each = tags is not None and bool(torch.all(tags.sum(dim=1) == 1))
        self.latent_dim = params.network.latent_dim
        self.fabric = fabric
        betas = (train.beta1, train.beta2)
        self.generator, self.generator_optimizer = fabric.setup(
            generator, make_optimizer(train.generator_optimizer, generator.parameters(), train.generator_lr, *betas)
        )
        self.discriminator, self.discriminator_optimizer = fabric.setup(
            discriminator,
            make_optimizer(train.discriminator_optimizer, discriminator.parameters(), train.discriminator_lr, *betas),
        )
        self.adaptive = AdaptiveP(kimg=params.stabilise.ada_kimg / params.stabilise.packing)  # it counts packs
        self.replay = ReplayBuffer(params.stabilise.replay, fabric.device)
        self.steps = 0

    @property
    def images_per_step(self) -> int:
        """Real images that the discriminator learns from in one step of the game."""
        return self.batch * self.params.train.discriminator_steps

    @property
    def images_seen(self) -> int:
        """Real images that the discriminator has learned from so far."""
        return self.steps * self.images_per_step

    @property
    def batches_per_step(self) -> int:
        """Batches that one step draws from the data: those the generator's fakes are paired with count too."""
        train = self.params.train
        fresh = train.generator_steps if self.objective.paired else train.generator_steps - 1
        return train.discriminator_steps + fresh

    def step(self, batches: Iterator[Batch]) -> dict[str, Tensor]:
        """Train the discriminator, then the generator, for as many steps each as params.yaml says.

        All random numbers of a step, those of the batches included, follow from train.seed and the step's number:
        a resumed run needs no generator state to draw what an uninterrupted one would have drawn.

        batches: at least `batches_per_step` of them. Returns scalars, left on the device so that nothing waits
        for a GPU: both losses, the penalty, and the mean of sigmoid(logit) for real images and fakes.
        """
        train = self.params.train
        torch.manual_seed(derive_seed(train.seed, self.steps))
        now = schedule_values(train, self.images_seen)
        apply_schedule(self.generator_optimizer, train.generator_lr * now.rate, now.beta2)
        apply_schedule(self.discriminator_optimizer, train.discriminator_lr * now.rate, now.beta2)
        for turn in range(train.discriminator_steps):
            real, labels = next(batches)
            # The last fakes serve the generator too, which spares it a pass.
            with torch.set_grad_enabled(turn == train.discriminator_steps - 1 and not self.objective.paired):
                fake = self._fakes(labels)
            scalars = self._improve_discriminator(real, fake.detach(), labels, now.penalty)
        for turn in range(train.generator_steps):
            if turn or self.objective.paired:
                real, labels = next(batches)
                fake = self._fakes(labels)
            scalars |= self._improve_generator(fake, real, labels)
        self.steps += 1
        decay = ema_decay(self.images_per_step, train.ema_half_life_kimg, self.images_seen)
        update_ema(self.ema, self.generator, decay)
        return scalars

    def judge(self, images: Tensor, labels: Tensor) -> DiscriminatorOutput:
        """The discriminator's verdict on images [N, C, H, W] as it is shown them: noisy, augmented, packed."""
        stabilise = self.params.stabilise
        noise = instance_noise(stabilise, self.images_seen)
        if noise:
            images = images + noise * torch.randn_like(images)
        if stabilise.augment != "none":
            images = augment(images, 1.0 if stabilise.augment == "diffaugment" else self.adaptive.p)
        return self.discriminate(images, labels)

    def discriminate(self, images: Tensor, labels: Tensor) -> DiscriminatorOutput:
        """The discriminator's verdict on images [N, C, H, W] as they are, but for packing. Logits are float32."""
        if self.params.stabilise.packing > 1:
            images = pack(images, self.params.stabilise.packing)
        # Past Fabric's wrapper, which in bf16 refuses the gradients that penalties take outside of its backward.
        with self.fabric.autocast():
            verdict: DiscriminatorOutput = self.discriminator.module(images, labels)
        return verdict

    def state(self) -> dict[str, Any]:
        """All that a run needs to go on: tensors and numbers, no classes of ours."""
        return {"steps": self.steps, **{name: part.state_dict() for name, part in self._parts().items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up where `state` was recorded."""
        self.steps = state["steps"]
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "average": self.ema,
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
            "adaptive": self.adaptive,
            "replay": self.replay,
        }

    def _fakes(self, labels: Tensor) -> Tensor:
        z = torch.randn(len(labels), self.latent_dim, device=labels.device)
        fake: Tensor = self.generator(z, labels)
        return fake

    def _improve_discriminator(self, real: Tensor, fake: Tensor, labels: Tensor, pressure: float) -> dict[str, Tensor]:
        """One descent of the discriminator. pressure: factor of R1 and R2."""
        objective, stabilise = self.params.objective, self.params.stabilise
        fresh, fake_labels = fake, labels
        if stabilise.replay:
            fake, fake_labels = self.replay.mix(fake, labels)
        # Leaves of their own: the batch and the replay are not tied to this step's graph, whatever happens in it.
        real = real.detach().requires_grad_(objective.r1 > 0)
        fake = fake.detach().requires_grad_(objective.r2 > 0)
        on_real, on_fake = self.judge(real, labels), self.judge(fake, fake_labels)
        fake_logits = on_fake.logits
        if objective.mismatched:
            fake_logits = torch.cat([fake_logits, self._mismatched(real, labels)])
        targets = soften_labels(stabilise, len(on_real.logits), len(fake_logits), real.device)
        loss = discriminator_loss(self.objective, on_real.logits, fake_logits, targets)
        penalty = self._zero_centred(on_real, on_fake, real, fake) * pressure + self._one_centred(real, fresh, labels)
        total = loss + penalty
        for verdict, asked in ((on_real, labels), (on_fake, fake_labels)):
            if self.tags is not None and verdict.tag_logits is not None:
                total = total + auxiliary_loss(verdict.tag_logits, self.tags[asked], self.one_tag_each)
        self._descend(total, self.discriminator, self.discriminator_optimizer)
        if objective.weight_clip:
            clip_weights(self.discriminator, objective.weight_clip)
        if stabilise.augment == "ada":
            self.adaptive.update(on_real.logits.detach())
        return {
            "d_loss": loss.detach(),
            "penalty": penalty.detach(),
            "d_real": on_real.logits.detach().sigmoid().mean(),
            "d_fake": on_fake.logits.detach().sigmoid().mean(),
        }

    def _improve_generator(self, fake: Tensor, real: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One descent of the generator. Its gradient passes through the discriminator's weights but not into them."""
        with frozen(self.discriminator):
            verdict = self.judge(fake, labels)
            real_logits = self.judge(real.detach(), labels).logits if self.objective.paired else None
            loss = generator_loss(self.objective, verdict.logits, real_logits)
            total = loss
            if self.tags is not None and verdict.tag_logits is not None:
                total = loss + auxiliary_loss(verdict.tag_logits, self.tags[labels], self.one_tag_each)
            self._descend(total, self.generator, self.generator_optimizer)
        return {"g_loss": loss.detach()}

    def _zero_centred(
        self, on_real: DiscriminatorOutput, on_fake: DiscriminatorOutput, real: Tensor, fake: Tensor
    ) -> Tensor:
        """R1 and R2, taken at the pixels before augmentation and through it, as R3GAN's own code does."""
        objective = self.params.objective
        penalty = real.new_zeros(())
        if objective.r1:
            penalty = penalty + objective.r1 * zero_centred_penalty(on_real.logits, real)
        if objective.r2:
            penalty = penalty + objective.r2 * zero_centred_penalty(on_fake.logits, fake)
        return penalty

    def _one_centred(self, real: Tensor, fresh: Tensor, labels: Tensor) -> Tensor:
        """WGAN-GP's penalty, between real images and fakes of the same classes: fresh ones, never replayed ones.

        The critic sees the points as they are: its slope is to be 1 on the way between the two distributions, and
        an augmentation that blanks or scales pixels has a slope of its own.
        """
        if not self.params.objective.gradient_penalty:
            return real.new_zeros(())
        gap = one_centred_penalty(lambda images: self.discriminate(images, labels).logits, real.detach(), fresh)
        return self.params.objective.gradient_penalty * gap

    def _mismatched(self, real: Tensor, labels: Tensor) -> Tensor:
        """Logits of real images under another class, which are to count as half of the fakes (Reed et al. 2016)."""
        wrong = (labels + torch.randint_like(labels, 1, max(self.classes, 2))) % self.classes
        return self.judge(real.detach(), wrong).logits

    def _descend(self, loss: Tensor, network: Any, optimizer: Any) -> None:
        optimizer.zero_grad()
        self.fabric.backward(loss)
        if self.params.stabilise.gradient_clip:
            clip_grad_norm_(network.parameters(), self.params.stabilise.gradient_clip)
        optimizer.step()


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """While open, gradients pass through the network's weights but not into them; afterwards they do, come what may."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
