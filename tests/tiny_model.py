"""Real ONNX model file of a few kilobytes: one layer over z, an embedding per class, and a model card."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.inference.image_shape import Resolution
from serving.inference.model_card import CARD_KEY, CHECKSUM_KEY, CHECKSUM_PLACEHOLDER, ModelCard, embed_checksum

LATENT_DIM = 8
RESOLUTION = 8
CLASSES = ("cat", "dog", "eel")


def tiny_card(
    channels: int = 3, classes: Sequence[str] = CLASSES, resolution: int | str = RESOLUTION, **changes: Any
) -> ModelCard:
    """The card that describes `tiny_model`, with `changes`."""
    values: dict[str, Any] = {
        "name": "tiny",
        "latent_dim": LATENT_DIM,
        "resolution": resolution,
        "channels": channels,
        "classes": tuple(classes),
        "mean_latent": (0.0,) * LATENT_DIM,
        "images_seen": 0,
        "data_sha256": "0" * 64,
        "git_revision": None,
        "params": {},
        "licence": "none needed",
    }
    return ModelCard.model_validate(values | changes)


def tiny_model(
    channels: int = 3,
    classes: Sequence[str] = CLASSES,
    weights: int = 0,
    brittle: bool = False,
    resolution: int | str = RESOLUTION,
) -> onnx.ModelProto:
    """Build a generator of small images that depend on z and on the label.

    weights: seed of its random weights. brittle: fail inside ONNX Runtime for a latent whose first number is 100 or
    more, as a network with a bug would. resolution: a side, or height x width such as `12x8`.
    """
    shape = (*Resolution.parse(resolution), channels)
    pixels = math.prod(shape)
    random = np.random.RandomState(weights)
    constants = {
        "kernel": random.standard_normal((LATENT_DIM, pixels)).astype(np.float32),
        "bias": random.standard_normal(pixels).astype(np.float32),
        "by_class": random.standard_normal((max(len(classes), 1), pixels)).astype(np.float32),
        "white": np.float32(255),
        "shape": np.array([-1, *shape], np.int64),
        "hundred": np.float32(100),
        "first": np.array([0], np.int64),
        "only_zero": np.zeros(1, np.float32),
    }
    nodes = _nodes(bool(classes), brittle)
    inputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", LATENT_DIM])]
    if classes:
        inputs.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))
    output = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *shape])
    used = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return with_card(model, tiny_card(channels, classes, resolution))


def _nodes(conditional: bool, brittle: bool) -> list[onnx.NodeProto]:
    """Build the nodes from z, and the label, to images."""
    nodes = [helper.make_node("Gemm", ["z", "kernel", "bias"], ["from_z"])]
    logits = "from_z"
    if conditional:
        nodes += [
            helper.make_node("Gather", ["by_class", "label"], ["from_label"]),
            helper.make_node("Add", ["from_z", "from_label"], ["from_both"]),
        ]
        logits = "from_both"
    if brittle:  # looks up index z[0] / 100 in a table of one number
        nodes += [
            helper.make_node("Gather", ["z", "first"], ["z0"], axis=1),
            helper.make_node("Div", ["z0", "hundred"], ["quotient"]),
            helper.make_node("Cast", ["quotient"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["only_zero", "index"], ["zero"]),
            helper.make_node("Add", [logits, "zero"], ["from_all"]),
        ]
        logits = "from_all"
    nodes += [
        helper.make_node("Sigmoid", [logits], ["unit"]),
        helper.make_node("Mul", ["unit", "white"], ["scaled"]),
        helper.make_node("Round", ["scaled"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "shape"], ["images"]),
    ]
    return nodes


def with_card(model: onnx.ModelProto, card: ModelCard) -> onnx.ModelProto:
    """Replace the model's card."""
    helper.set_model_props(model, {CARD_KEY: card.model_dump_json(), CHECKSUM_KEY: CHECKSUM_PLACEHOLDER})
    return model


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write the model file with its checksum and return its path."""
    path.write_bytes(embed_checksum(model.SerializeToString()))
    return path
