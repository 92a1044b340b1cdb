"""Base generator and discriminator, shared by all network families: class conditioning, logits and minibatch std.

A family's module adds the layers. Classes enter a generator as an embedding concatenated to z. They enter a
discriminator as the inner product of an embedding with its features (projection, Miyato and Koyama 2018, eq. 3), or
it classifies the images itself (auxiliary classifier, Odena et al. 2017).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

# At the scale of z the class would dominate: the network learns one image per class and ignores z.
CLASS_EMBEDDING_SCALE = 0.1


class TagEmbedding(nn.Module):
    """label [N] -> [N, size]: the sum of the learned embeddings of the class's tags.

    class_tags: float [classes, tags], 1 where the class has the tag; the identity for plain classes.
    """

    class_tags: Tensor

    def __init__(self, class_tags: Tensor, size: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("class_tags", class_tags, persistent=False)
        self.weight = nn.Parameter(torch.randn(class_tags.shape[1], size) * scale)

    def forward(self, label: Tensor) -> Tensor:
        return embedding(label, self.class_tags @ self.weight)

    def fold(self) -> nn.Embedding:
        """Equivalent plain embedding, with one precomputed vector per class."""
        vectors = (self.class_tags @ self.weight).detach()
        return nn.Embedding(len(vectors), vectors.shape[1], _weight=vectors)


class ConditionedLatent(nn.Module):
    """z [N, latent_dim], label [N] -> the generator's input [N, size]: z, and the class embedding beside it."""

    def __init__(self, latent_dim: int, class_tags: Tensor | None, scale: float) -> None:
        super().__init__()
        self.embedding: TagEmbedding | nn.Embedding | None = None
        if class_tags is not None:
            self.embedding = TagEmbedding(class_tags, latent_dim, scale)
        self.size = latent_dim if class_tags is None else 2 * latent_dim

    def forward(self, z: Tensor, label: Tensor | None) -> Tensor:
        if self.embedding is None:
            return z
        with autocast_disabled(z) as z32:
            return torch.cat([z32, self.embedding(label)], dim=1)


class Generator(nn.Module):
    """z [N, latent_dim], label [N] -> images [N, channels, height, width], nominally in [-1, 1].

    make_layers: input size -> the family's layers. class_tags: see TagEmbedding; None ignores the label.
    class_scale: standard deviation of the class embedding at the start, where z has 1.
    """

    def __init__(
        self,
        latent_dim: int,
        class_tags: Tensor | None,
        make_layers: Callable[[int], nn.Sequential],
        class_scale: float = CLASS_EMBEDDING_SCALE,
    ) -> None:
        super().__init__()
        self.latent = ConditionedLatent(latent_dim, class_tags, class_scale)
        self.layers = make_layers(self.latent.size)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(self.latent(z, label))
        return images


class Backbone(NamedTuple):
    """A family's discriminator without its head."""

    layers: nn.Sequential  # images -> features [N, channels, height, width]
    channels: int
    make_head: Callable[[int], nn.Module]  # channels -> the head: features -> logits [N, 1, ...]


class DiscriminatorOutput(NamedTuple):
    """Output of a discriminator, in float32 whatever its features are."""

    logits: Tensor  # [N], above 0 for real; [N * positions] of a discriminator that judges every position
    tag_logits: Tensor | None  # [N, tags], of the auxiliary classifier


class Discriminator(nn.Module):
    """images [N, channels, height, width], label [N] -> DiscriminatorOutput.

    condition: `none`, `projection` or `auxiliary`, see the module's docstring.
    minibatch_std: adds a feature map with the standard deviation over the batch.
    """

    def __init__(self, backbone: Backbone, condition: str, class_tags: Tensor | None, minibatch_std: bool) -> None:
        super().__init__()
        self.features = backbone.layers
        if minibatch_std:
            self.features.append(MinibatchStd())
        channels = backbone.channels + minibatch_std
        self.head = backbone.make_head(channels)
        self.embedding = None
        self.classifier = None
        if class_tags is not None and condition == "projection":
            # Zero-initialised, so that the logits do not depend on the class until training makes them.
            self.embedding = TagEmbedding(class_tags, channels, scale=0.0)
        elif class_tags is not None and condition == "auxiliary":
            self.classifier = nn.Linear(channels, class_tags.shape[1])

    def forward(self, images: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        return self.discriminate(self.features(images), label)

    def discriminate(self, features: Tensor, label: Tensor | None) -> DiscriminatorOutput:
        """Output for images by their features."""
        with autocast_disabled(features) as features:
            logits = self.head(features).flatten()
            pooled = features.sum(dim=(2, 3))
            if self.embedding is not None:
                logits = logits + (self.embedding(label) * pooled).sum(dim=1)
            return DiscriminatorOutput(logits, None if self.classifier is None else self.classifier(pooled))


class MinibatchStd(nn.Module):
    """[N, C, H, W] -> [N, C + 1, H, W]: appends the standard deviation over the batch, averaged over all positions.

    It reveals a generator that produces only one image (Karras et al. 2018, section 3).
    """

    def forward(self, features: Tensor) -> Tensor:
        # 1e-8 keeps the gradient of the root finite where all images are equal.
        std = (features.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        count, _, height, width = features.shape
        return torch.cat([features, std.expand(count, 1, height, width)], dim=1)


@contextmanager
def autocast_disabled(x: Tensor) -> Iterator[Tensor]:
    """Context without autocast; yields x, as float32 where autocast was on and may have rounded it."""
    if not torch.is_autocast_enabled(x.device.type):
        yield x
        return
    with torch.autocast(x.device.type, enabled=False):
        yield x.float()


def dropout(rate: float) -> list[nn.Module]:
    """One dropout layer, or none for a rate of 0."""
    return [nn.Dropout(rate)] if rate else []
