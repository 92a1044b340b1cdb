"""GAN trainer for a discriminator that looks through a frozen network, whose features both networks' steps share.

The features of a batch do not depend on the heads that the discriminator's step trains, so one forward pass through the
frozen network serves both steps. They also give the generator a loss of its own, the energy distance: heads judge
images one by one and are content with a generator that makes one good image of each class.
"""

from collections.abc import Iterator

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.functional import one_hot

from training.gan.augment import RandomNumbers
from training.gan.losses import energy_distance, generator_loss
from training.gan.trainer import Batch, GANTrainer, frozen
from training.networks import DiscriminatorOutput
from training.networks.projected import ProjectedMaps, concatenate
from training.params import Params

MIN_STD = 1e-3  # of a feature over the batch; those that hardly vary are not blown up


def make_trainer(params: Params, class_tags: Tensor | None, fabric: Fabric) -> GANTrainer:
    """Make the trainer for the network that params.yaml names. class_tags: see GANTrainer."""
    trainer = ProjectedGANTrainer if params.network.name == "projected" else GANTrainer
    return trainer(params, class_tags, fabric)


class ProjectedGANTrainer(GANTrainer):
    """Generator and ProjectedDiscriminator in training."""

    @property
    def batches_per_step(self) -> int:
        """One: the generator's step, paired or not, uses the features of the discriminator's."""
        return 1

    def _train_networks(self, batches: Iterator[Batch], penalty_factor: float) -> dict[str, Tensor]:
        real, labels = next(batches)
        # Reals and fakes are cut and shifted alike, so that the distance between them is not that of two augmentations.
        random = RandomNumbers.sample(real)
        with torch.no_grad():
            real_maps = self._maps(real, random)
        fake_maps = self._maps(self._generate(labels), random)
        scalars = self._train_heads(real_maps, fake_maps.detach(), labels)
        return scalars | self._train_generator(real_maps, fake_maps, labels)

    def _train_heads(self, real: ProjectedMaps, fake: ProjectedMaps, labels: Tensor) -> dict[str, Tensor]:
        """One optimiser step of the discriminator, for all maps in one pass."""
        judged, their_labels = [real, fake], [labels, labels]
        if self.params.objective.mismatched:
            judged.append(real)
            their_labels.append(self._wrong_labels(labels))
        logits = self._discriminate_maps(concatenate(judged), torch.cat(their_labels)).logits
        real_logits, fake_logits = logits.tensor_split([len(logits) // len(judged)])
        loss = self._discriminator_loss(real_logits, fake_logits)
        gradient = self._optimizer_step(loss, self.discriminator, self.discriminator_optimizer)
        self._adapt_augmentation(real_logits.view(len(labels), -1).mean(dim=1))
        return self._discriminator_scalars(loss, loss.new_zeros(()), real_logits, fake_logits, gradient)

    def _train_generator(self, real: ProjectedMaps, fake: ProjectedMaps, labels: Tensor) -> dict[str, Tensor]:
        """One optimiser step of the generator."""
        objective = self.params.objective
        with frozen(self.discriminator):
            real_logits = self._discriminate_maps(real, labels).logits if self.objective.paired else None
            loss = generator_loss(self.objective, self._discriminate_maps(fake, labels).logits, real_logits)
            total = loss
            if objective.energy_distance:
                total = loss + objective.energy_distance * self._energy_distance(real, fake, labels)
            gradient = self._optimizer_step(total, self.generator, self.generator_optimizer)
        return {"g_loss": loss.detach(), "g_gradient": gradient}

    def _maps(self, images: Tensor, random: RandomNumbers) -> ProjectedMaps:
        """What the discriminator sees of images [N, C, H, W], augmented first."""
        images = self._augmented(images, random)
        with self.fabric.autocast():
            maps: ProjectedMaps = self.discriminator.module.features(images)
        return maps

    def _discriminate_maps(self, maps: ProjectedMaps, labels: Tensor) -> DiscriminatorOutput:
        with self.fabric.autocast():
            output: DiscriminatorOutput = self.discriminator.module.discriminate(maps, labels)
        return output

    def _energy_distance(self, real: ProjectedMaps, fake: ProjectedMaps, labels: Tensor) -> Tensor:
        """Mean over the strides of the energy distance between real images and fakes, of the same classes.

        An image is the mean of each feature over its positions, in standard deviations of the real batch and divided
        by the square root of their number, and its class as a one-hot vector: two images of different classes are as
        far apart as two average images.
        """
        classes = one_hot(labels, self.classes).float() if self.classes else labels.new_zeros(len(labels), 0).float()
        distances = []
        for real_map, fake_map in zip(real.plain, fake.plain, strict=True):
            pooled = [x.float().mean(dim=(2, 3)) for x in (real_map, fake_map)]
            std, mean = torch.std_mean(pooled[0], dim=0)
            scale = (std + MIN_STD) * len(std) ** 0.5
            distances.append(energy_distance(*(torch.cat([(x - mean) / scale, classes], dim=1) for x in pooled)))
        return torch.stack(distances).mean()
