"""What a PNG says about where it came from, so that a saved picture can be made again."""

import base64
from typing import Protocol

from serving.inference.latents import Latents
from serving.inference.model_card import ModelCard


class Model(Protocol):
    """What is known of a model here and on the other side of a network."""

    @property
    def model_id(self) -> str:
        """What tells its file from every other."""

    @property
    def card(self) -> ModelCard:
        """What it says about itself."""


def origin(
    model: Model, truncation: float, seed: int | None, label: int | None, latent: Latents | None = None
) -> dict[str, str]:
    """The text chunks of one image.

    label: index of its class, or None. latent: float32 [latent_dim] before truncation, for an image without a seed; it
    is written in base64, little-endian.
    """
    text = {"Software": "Mint", "model": model.model_id, "truncation": str(truncation)}
    if seed is not None:
        text["seed"] = str(seed)
    elif latent is not None:
        text["latent"] = base64.b64encode(latent.astype("<f4").tobytes()).decode()
    if label is not None:
        text["label"] = model.card.classes[label]
    return text


def sheet_origin(model: Model, truncation: float, seeds: list[int] | None, labels: list[int]) -> dict[str, str]:
    """The text chunks of a contact sheet: seeds and class indices in the order of its images."""
    text = {"Software": "Mint", "model": model.model_id, "truncation": str(truncation)}
    if seeds is not None:
        text["seeds"] = ",".join(map(str, seeds))
    if labels:
        text["labels"] = ",".join(map(str, labels))
    return text
