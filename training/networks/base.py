"""The generator and the discriminator, whatever their family: how z, classes, layers and logits fit together.

A family's file gives the layers; what is common to all of them is here. Classes enter a generator as an
embedding beside z. They enter a discriminator as the inner product of an embedding with its features
(projection, Miyato and Koyama 2018, eq. 3), or it names them itself (auxiliary classifier, Odena et al. 2017).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

# At the scale of z the class drowns it: the network learns one picture a class and lets z go.
CLASS_SCALE = 0.1


class TagEmbedding(nn.Module):
    """label [N] -> [N, size]: the sum of the learned vectors of the tags that the class is made of.

    tags: float [classes, tags], 1 where the class has the tag; the identity for classes that are tags themselves.
    """

    tags: Tensor

    def __init__(self, tags: Tensor, size: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("tags", tags, persistent=False)
        self.weight = nn.Parameter(torch.randn(tags.shape[1], size) * scale)

    def forward(self, label: Tensor) -> Tensor:
        return embedding(label, self.tags @ self.weight)

    def folded(self) -> nn.Embedding:
        """The same function with the sums done: one vector a class."""
        vectors = (self.tags @ self.weight).detach()
        return nn.Embedding(len(vectors), vectors.shape[1], _weight=vectors)


class ConditionedLatent(nn.Module):
    """z [N, latent_dim], label [N] -> what a generator's first layer reads [N, size]."""

    def __init__(self, latent_dim: int, tags: Tensor | None) -> None:
        super().__init__()
        self.embedding: TagEmbedding | nn.Embedding | None = None
        if tags is not None:
            self.embedding = TagEmbedding(tags, latent_dim, CLASS_SCALE)
        self.size = latent_dim if tags is None else 2 * latent_dim

    def forward(self, z: Tensor, label: Tensor | None) -> Tensor:
        if self.embedding is None:
            return z
        with single_precision(z) as unrounded:
            return torch.cat([unrounded, self.embedding(label)], dim=1)


class Generator(nn.Module):
    """z [N, latent_dim], label [N] -> images [N, channels, resolution, resolution], meant to lie in [-1, 1].

    layers: makes the family's layers for so many inputs. tags: see TagEmbedding; None ignores the label.
    """

    def __init__(self, latent_dim: int, tags: Tensor | None, layers: Callable[[int], nn.Sequential]) -> None:
        super().__init__()
        self.latent = ConditionedLatent(latent_dim, tags)
        self.layers = layers(self.latent.size)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(self.latent(z, label))
        return images


class Backbone(NamedTuple):
    """A family's discriminator without its last step."""

    layers: nn.Sequential  # images -> [N, channels, side, side]
    channels: int
    logit: Callable[[int], nn.Module]  # makes the last step for so many channels: features -> [N, 1, ...]


class DiscriminatorOutput(NamedTuple):
    """What a discriminator says of images, in float32 whatever its features are."""

    logits: Tensor  # [N], real above 0
    tag_logits: Tensor | None  # [N, tags], of an auxiliary classifier


class Discriminator(nn.Module):
    """images [N, channels, resolution, resolution], label [N] -> Verdict.

    condition: `none`, `projection` or `auxiliary`, see the head of this file.
    minibatch_std: whether one more feature says how much the images of the batch differ.
    """

    def __init__(self, features: Backbone, condition: str, tags: Tensor | None, minibatch_std: bool) -> None:
        super().__init__()
        self.features = features.layers
        if minibatch_std:
            self.features.append(MinibatchStd())
        channels = features.channels + minibatch_std
        self.logit = features.logit(channels)
        self.embedding = None
        self.classify = None
        if tags is not None and condition == "projection":
            # At zero the projection starts out neutral: the classes enter as far as they help.
            self.embedding = TagEmbedding(tags, channels, scale=0.0)
        elif tags is not None and condition == "auxiliary":
            self.classify = nn.Linear(channels, tags.shape[1])

    def forward(self, images: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        with single_precision(self.features(images)) as features:
            logits = self.logit(features).flatten()
            pooled = features.sum(dim=(2, 3))
            if self.embedding is not None:
                logits = logits + (self.embedding(label) * pooled).sum(dim=1)
            return DiscriminatorOutput(logits, None if self.classify is None else self.classify(pooled))


class MinibatchStd(nn.Module):
    """[N, C, H, W] -> [N, C + 1, H, W]: one more map, the standard deviation over the batch, averaged over all places.

    A generator that makes one image only is found out by it (Karras et al. 2018, section 3).
    """

    def forward(self, features: Tensor) -> Tensor:
        # The small constant keeps the gradient of the root finite where all images agree.
        spread = (features.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        count, _, height, width = features.shape
        return torch.cat([features, spread.expand(count, 1, height, width)], dim=1)


@contextmanager
def single_precision(x: Tensor) -> Iterator[Tensor]:
    """While open, autocast is off; gives x in float32 where autocast may have rounded it, and x itself elsewhere."""
    if not torch.is_autocast_enabled(x.device.type):
        yield x
        return
    with torch.autocast(x.device.type, enabled=False):
        yield x.float()


def dropout(share: float) -> list[nn.Module]:
    """A dropout layer, or none at all for a share of 0."""
    return [nn.Dropout(share)] if share else []
