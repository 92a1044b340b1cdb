"""GAN trainer: both networks with their optimisers, the generator's EMA, and one training step."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from training.data.batches import derive_seed
from training.gan.augment import AdaptiveP, RandomNumbers, augment
from training.gan.ema import ema_decay, update_ema
from training.gan.losses import OBJECTIVES, auxiliary_loss, discriminator_loss, generator_loss
from training.gan.optimizers import apply_schedule, make_optimizer, schedule_values
from training.gan.penalties import r1_r2_penalty, wgan_gp_penalty
from training.gan.stabilisers import ReplayBuffer, clip_weights, instance_noise, pack, soften_labels
from training.gan.transfer import freeze_first_layers
from training.networks import DiscriminatorOutput, Generator, build, chain
from training.params import Params

Batch = tuple[Tensor, Tensor]  # real images [batch, C, H, W] in [-1, 1] and labels int64 [batch]


class GANTrainer:
    """Generator and discriminator in training. `steps` counts the training steps so far.

    class_tags: float [classes, tags], 1 where a class has a tag; None for data without classes.
    networks: the pair to train; None builds the one that params.yaml names.
    """

    def __init__(
        self,
        params: Params,
        class_tags: Tensor | None,
        fabric: Fabric,
        networks: tuple[Generator, nn.Module] | None = None,
    ) -> None:
        train = params.train
        torch.manual_seed(train.seed)
        if params.network.condition == "none":
            class_tags = None
        generator, discriminator = networks or build(params, class_tags)
        freeze_first_layers(discriminator, train.freeze_discriminator)
        if fabric.device.type == "cuda":
            generator = generator.to(memory_format=torch.channels_last)
            discriminator = discriminator.to(memory_format=torch.channels_last)
        self.ema = copy.deepcopy(generator).to(fabric.device).eval().requires_grad_(False)
        self.params = params
        self.objective = OBJECTIVES[params.objective.name]
        self.batch_size = train.batch
        self.classes = 0 if class_tags is None else len(class_tags)
        self.class_tags = None if class_tags is None else class_tags.to(fabric.device)
        self.exclusive_tags = class_tags is not None and bool(torch.all(class_tags.sum(dim=1) == 1))
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
        self.ada = AdaptiveP(kimg=params.stabilise.ada_kimg / params.stabilise.packing)  # counts packs, not images
        self.replay_buffer = ReplayBuffer(params.stabilise.replay, fabric.device)
        self.steps = 0
        # What images_seen lacks of those that the weights were trained on; negative after healing went back.
        self.earlier_images = 0

    @property
    def images_per_step(self) -> int:
        """Real images that the discriminator learns from in one training step."""
        return self.batch_size * self.params.train.discriminator_steps

    @property
    def images_seen(self) -> int:
        """Real images that the discriminator has learned from so far."""
        return self.steps * self.images_per_step

    @property
    def batches_per_step(self) -> int:
        """Batches of real images that one training step consumes, those for the generator's steps included."""
        train = self.params.train
        for_generator = train.generator_steps if self.objective.paired else train.generator_steps - 1
        return train.discriminator_steps + for_generator

    def step(self, batches: Iterator[Batch]) -> dict[str, Tensor]:
        """Train the discriminator, then the generator, for as many steps each as params.yaml says.

        Seeds torch with train.seed and the step's number, for the batches too, so that a resumed run repeats an
        uninterrupted one without stored RNG states.

        batches: at least `batches_per_step` of them. Returns scalars, left on the device to avoid a GPU
        sync: both losses, the penalty, and the mean of sigmoid(logit) for real images and fakes.
        """
        train = self.params.train
        torch.manual_seed(derive_seed(train.seed, self.steps))
        schedule = schedule_values(train, self.images_seen)
        for optimizer, rate in (
            (self.generator_optimizer, train.generator_lr),
            (self.discriminator_optimizer, train.discriminator_lr),
        ):
            apply_schedule(optimizer, rate * schedule.lr_factor, train.beta1, schedule.beta2)
        scalars = self._train_networks(batches, schedule.penalty_factor)
        self.steps += 1
        decay = ema_decay(self.images_per_step, train.ema_half_life_kimg, self.images_seen + self.earlier_images)
        update_ema(self.ema, self.generator, decay)
        return scalars

    def discriminate_augmented(self, images: Tensor, labels: Tensor) -> DiscriminatorOutput:
        """Discriminator output for images [N, C, H, W] with instance noise and augmentation applied to them first."""
        return self.discriminate(self._augmented(images), labels)

    def discriminate(self, images: Tensor, labels: Tensor) -> DiscriminatorOutput:
        """Discriminator output for images [N, C, H, W], packed where stabilise.packing says so. Logits are float32."""
        # .module: in bf16 Fabric's wrapper forbids autograd.grad outside fabric.backward, which penalties need.
        return self.judge(self.discriminator.module, images, labels)

    def judge(self, discriminator: nn.Module, images: Tensor, labels: Tensor) -> DiscriminatorOutput:
        """Output of a discriminator, such as a copy of the trained one, as `discriminate` has it."""
        if self.params.stabilise.packing > 1:
            images = pack(images, self.params.stabilise.packing)
        with self.fabric.autocast():
            output: DiscriminatorOutput = discriminator(images, labels)
        return output

    def state_dict(self) -> dict[str, Any]:
        """Everything that resuming needs, as tensors and plain values."""
        counts = {"steps": self.steps, "earlier_images": self.earlier_images}
        return counts | {name: part.state_dict() for name, part in self._stateful_parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.steps, self.earlier_images = state["steps"], state["earlier_images"]
        for name, part in self._stateful_parts().items():
            part.load_state_dict(state[name])

    def _stateful_parts(self) -> dict[str, Any]:
        return {
            "ema": self.ema,
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
            "ada": self.ada,
            "replay_buffer": self.replay_buffer,
        }

    def _train_networks(self, batches: Iterator[Batch], penalty_factor: float) -> dict[str, Tensor]:
        """Train both networks for one step; returns what `step` does. penalty_factor: of R1 and R2."""
        train = self.params.train
        for i in range(train.discriminator_steps):
            real, labels = next(batches)
            # The generator's first step reuses the last fakes, which saves a forward pass.
            with torch.set_grad_enabled(i == train.discriminator_steps - 1 and not self.objective.paired):
                fake = self._generate(labels)
            scalars = self._d_step(real, fake.detach(), labels, penalty_factor)
        for i in range(train.generator_steps):
            if i or self.objective.paired:
                real, labels = next(batches)
                fake = self._generate(labels)
            scalars |= self._g_step(fake, real, labels)
        return scalars

    def _augmented(self, images: Tensor, random: RandomNumbers | None = None) -> Tensor:
        """Images [N, C, H, W] with instance noise and augmentation. random: see `augment`."""
        stabilise = self.params.stabilise
        noise = instance_noise(stabilise, self.images_seen)
        if noise:
            images = images + noise * torch.randn_like(images)
        if stabilise.augment != "none":
            images = augment(images, 1.0 if stabilise.augment == "diffaugment" else self.ada.p, random)
        return images

    def _generate(self, labels: Tensor) -> Tensor:
        z = torch.randn(len(labels), self.latent_dim, device=labels.device)
        fake: Tensor = self.generator(z, labels)
        return fake

    def _d_step(self, real: Tensor, fake: Tensor, labels: Tensor, penalty_scale: float) -> dict[str, Tensor]:
        """One optimiser step of the discriminator. penalty_scale: factor of R1 and R2."""
        objective, stabilise = self.params.objective, self.params.stabilise
        fresh_fake, fake_labels = fake, labels
        if stabilise.replay:
            fake, fake_labels = self.replay_buffer.mix(fake, labels)
        # New leaf tensors, so that neither the batch nor the replay buffer is tied to this step's graph.
        real = real.detach().requires_grad_(objective.r1 > 0)
        fake = fake.detach().requires_grad_(objective.r2 > 0)
        real_output = self.discriminate_augmented(real, labels)
        real_chain = self._chain_penalty()
        fake_output = self.discriminate_augmented(fake, fake_labels)
        fake_chain = self._chain_penalty()
        fake_logits = fake_output.logits
        if objective.mismatched:
            fake_logits = torch.cat([fake_logits, self._mismatched_logits(real, labels)])
        loss = self._discriminator_loss(real_output.logits, fake_logits)
        penalty = self._r1_r2(real_output, fake_output, real, fake) * penalty_scale
        penalty = penalty + self._gradient_penalty(real, fresh_fake, labels) + real_chain + fake_chain
        total = loss + penalty
        for output, true_labels in ((real_output, labels), (fake_output, fake_labels)):
            if self.class_tags is not None and output.tag_logits is not None:
                total = total + auxiliary_loss(output.tag_logits, self.class_tags[true_labels], self.exclusive_tags)
        gradient = self._optimizer_step(total, self.discriminator, self.discriminator_optimizer)
        if objective.weight_clip:
            clip_weights(self.discriminator, objective.weight_clip)
        self._adapt_augmentation(real_output.logits)
        chain.adapt(self.discriminator, real_output.logits)
        return self._discriminator_scalars(loss, penalty, real_output.logits, fake_output.logits, gradient)

    def _discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Loss of the discriminator under the objective and the soft labels of params.yaml."""
        targets = soften_labels(self.params.stabilise, len(real_logits), len(fake_logits), real_logits.device)
        return discriminator_loss(self.objective, real_logits, fake_logits, targets)

    def _adapt_augmentation(self, real_logits: Tensor) -> None:
        """Let ADA see the logits of real images [N], one for each image or pack."""
        if self.params.stabilise.augment == "ada":
            self.ada.update(real_logits.detach())

    def _discriminator_scalars(
        self, loss: Tensor, penalty: Tensor, real_logits: Tensor, fake_logits: Tensor, gradient: Tensor
    ) -> dict[str, Tensor]:
        """Scalars of the discriminator's step, for the curves. gradient: norm of its weights' gradient."""
        real_logits, fake_logits = real_logits.detach(), fake_logits.detach()
        return {
            "d_loss": loss.detach(),
            "penalty": penalty.detach(),
            "d_real": real_logits.sigmoid().mean(),
            "d_fake": fake_logits.sigmoid().mean(),
            "d_real_sign": real_logits.sign().mean(),
            "d_fake_sign": fake_logits.sign().mean(),
            "d_gradient": gradient,
        }

    def _g_step(self, fake: Tensor, real: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One optimiser step of the generator; the discriminator's weights get no gradient from it."""
        with frozen(self.discriminator):
            output = self.discriminate_augmented(fake, labels)
            real_logits = self.discriminate_augmented(real.detach(), labels).logits if self.objective.paired else None
            loss = generator_loss(self.objective, output.logits, real_logits)
            total = loss
            if self.class_tags is not None and output.tag_logits is not None:
                total = loss + auxiliary_loss(output.tag_logits, self.class_tags[labels], self.exclusive_tags)
            gradient = self._optimizer_step(total, self.generator, self.generator_optimizer)
        self._chain_penalty()  # of the discriminator's passes here, which learn nothing
        return {"g_loss": loss.detach(), "g_gradient": gradient}

    def _chain_penalty(self) -> Tensor | float:
        """Penalty of CHAIN's layers for the last forward pass; 0 without them."""
        penalty = chain.pop_mean_penalty(self.discriminator)
        return 0.0 if penalty is None else penalty

    def _r1_r2(
        self, real_output: DiscriminatorOutput, fake_output: DiscriminatorOutput, real: Tensor, fake: Tensor
    ) -> Tensor:
        """R1 and R2, taken at the pixels before augmentation and through it, as R3GAN's own code does."""
        objective = self.params.objective
        penalty = real.new_zeros(())
        if objective.r1:
            penalty = penalty + objective.r1 * r1_r2_penalty(real_output.logits, real)
        if objective.r2:
            penalty = penalty + objective.r2 * r1_r2_penalty(fake_output.logits, fake)
        return penalty

    def _gradient_penalty(self, real: Tensor, fresh_fake: Tensor, labels: Tensor) -> Tensor:
        """WGAN-GP's penalty between real images and fakes of the same classes: fresh ones, never replayed ones.

        Without augmentation: the gradient's norm should be 1 between the two distributions, and an augmentation that
        blanks or scales pixels changes it.
        """
        if not self.params.objective.gradient_penalty:
            return real.new_zeros(())
        penalty = wgan_gp_penalty(lambda images: self.discriminate(images, labels).logits, real.detach(), fresh_fake)
        return self.params.objective.gradient_penalty * penalty

    def _mismatched_logits(self, real: Tensor, labels: Tensor) -> Tensor:
        """Logits of real images under a wrong class, which count as half of the fakes (Reed et al. 2016)."""
        return self.discriminate_augmented(real.detach(), self._wrong_labels(labels)).logits

    def _wrong_labels(self, labels: Tensor) -> Tensor:
        """Another random class for each of labels [N]."""
        return (labels + torch.randint_like(labels, 1, max(self.classes, 2))) % self.classes

    def _optimizer_step(self, loss: Tensor, network: Any, optimizer: Any) -> Tensor:
        """One step of an optimiser. Returns the norm of the gradient of all weights, before it is clipped."""
        optimizer.zero_grad()
        self.fabric.backward(loss)
        if self.params.stabilise.gradient_clip:
            norm = clip_grad_norm_(network.parameters(), self.params.stabilise.gradient_clip)
        else:
            norm = get_total_norm([weight.grad for weight in network.parameters() if weight.grad is not None])
        optimizer.step()
        return norm


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Context in which gradients pass through the network but not into its weights; undone on errors too."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
