"""Inference wrapper of the generator: uint8 pixels, with batch norms and class embeddings folded into constants."""

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
    """A copy that computes the same in evaluation mode, with batch norms and tag embeddings folded."""
    folded = copy.deepcopy(generator)
    folded.layers = fold_batch_norm(folded.layers)
    if isinstance(folded.latent.embedding, TagEmbedding):
        folded.latent.embedding = folded.latent.embedding.fold()
    return folded


def fold_batch_norm(layers: nn.Sequential) -> nn.Sequential:
    """The same function in evaluation mode, with the batch norms that directly follow a linear layer folded into it.

    y = gamma (W x + b - mean) / sqrt(var + eps) + beta is itself linear in x (Ioffe and Szegedy 2015,
    section 3.1), so each norm becomes part of W and b.
    """
    folded: list[nn.Module] = []
    for layer in layers:
        previous = folded[-1] if folded else None
        if isinstance(layer, nn.BatchNorm2d) and isinstance(previous, nn.ConvTranspose2d):
            folded[-1] = fuse_conv_bn_eval(previous, layer, transpose=True)
        elif isinstance(layer, nn.BatchNorm2d) and isinstance(previous, nn.Conv2d):
            folded[-1] = fuse_conv_bn_eval(previous, layer)
        elif isinstance(layer, nn.BatchNorm1d) and isinstance(previous, nn.Linear):
            folded[-1] = fuse_linear_bn_eval(previous, layer)
        else:
            folded.append(layer)
    return type(layers)(*folded)
