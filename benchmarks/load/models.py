"""Model files for benchmarks: a larger network with random weights, and a copy of a model that gives other images."""

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper

from benchmarks.configs import config
from serving.inference.model_card import CHECKSUM_KEY, CHECKSUM_PLACEHOLDER, ModelCard, embed_checksum
from training import networks
from training.export import write_onnx

BATCH_NORM_BATCHES = 20


def dcgan_64(path: Path) -> Path:
    """Write the 64x64 DCGAN of the PyTorch tutorial, width 64, with random weights; returns its path."""
    params = config("anime-dcgan", data={"resolution": 64, "channels": 3}, network={"kernel": 4})
    torch.manual_seed(0)
    generator = networks.build_generator(params, None)
    with torch.no_grad():
        # With untrained batch norm statistics the signal vanishes, and uniform grey images are too easy to encode.
        for _ in range(BATCH_NORM_BATCHES):
            generator.train()(torch.randn(64, params.network.latent_dim))
    card = ModelCard(
        name="dcgan-64",
        latent_dim=params.network.latent_dim,
        resolution=params.data.resolution,
        channels=3,
        classes=(),
        mean_latent=(0.0,) * params.network.latent_dim,
        images_seen=0,
        data_sha256="0" * 64,
        git_revision=None,
        params=params.model_dump(mode="json"),
        licence="random weights",
    )
    write_onnx(generator.eval().requires_grad_(False), card, params.export.opset, path)
    return path


def write_altered(source: Path, target: Path) -> Path:
    """Write a copy of a model file whose largest weight tensor is halved, so that it generates other images."""
    model = onnx.load(source)
    largest = max(model.graph.initializer, key=lambda tensor: tensor.ByteSize())
    largest.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(largest) / 2, largest.name))
    card = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, card | {CHECKSUM_KEY: CHECKSUM_PLACEHOLDER})
    target.write_bytes(embed_checksum(model.SerializeToString()))
    return target
