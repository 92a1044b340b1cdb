"""The generator as it is served: pixels instead of [-1, 1], and no arithmetic that can be done once and for all."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from training.networks.base import Generator, TagEmbedding


class InferenceGenerator(nn.Module):
    """z float32 [N, latent_dim], label int64 [N] -> images uint8 [N, H, W, C]."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        images = self.generator(z, label)
        pixels: Tensor = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1)


def fold_for_inference(generator: Generator) -> Generator:
    """A copy that computes the same in evaluation mode, with batch norms and the tags of classes folded away."""
    copied = copy.deepcopy(generator)
    copied.layers = fold_batch_norm(copied.layers)
    if isinstance(copied.latent.embedding, TagEmbedding):
        copied.latent.embedding = copied.latent.embedding.folded()
    return copied


def fold_batch_norm(layers: nn.Sequential) -> nn.Sequential:
    """The same function in evaluation mode without the batch norms that directly follow a linear layer.

    y = gamma (W x + b - mean) / sqrt(var + eps) + beta is itself linear in x (Ioffe and Szegedy 2015,
    section 3.1), so each norm becomes part of W and b.
    """
    kept: list[nn.Module] = []
    for layer in layers:
        before = kept[-1] if kept else None
        if isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.ConvTranspose2d):
            kept[-1] = fuse_conv_bn_eval(before, layer, transpose=True)
        elif isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            kept[-1] = fuse_conv_bn_eval(before, layer)
        elif isinstance(layer, nn.BatchNorm1d) and isinstance(before, nn.Linear):
            kept[-1] = fuse_linear_bn_eval(before, layer)
        else:
            kept.append(layer)
    return nn.Sequential(*kept)
