"""A request becomes what the network is fed, and the network's images become the body of an answer."""

import base64
import secrets
from dataclasses import dataclass

from serving.errors import InputError
from serving.generator import Generator, Images
from serving.images import contact_sheet, encode, file_names, to_npy, to_zip
from serving.labels import label_indices
from serving.latents import MAX_SEED, Labels, Latents
from serving.schemas import Format, GeneratedImage, GenerateRequest, GenerateResponse


@dataclass(frozen=True)
class Inputs:
    """What the network is fed for one request."""

    seeds: list[int] | None  # None for latents that came with the request
    latents: Latents  # [N, latent_dim], truncated
    labels: Labels | None  # [N]; None for a model without classes


def resolve(request: GenerateRequest, generator: Generator, max_images: int) -> Inputs:
    """Draws or reads the latents and the labels that are asked for.

    Raises InputError for more than `max_images`, and for whatever this model cannot make.
    """
    if request.size > max_images:
        raise InputError(
            f"a request may be for {max_images} images and this one is for more; split it into several",
            request.source,
        )
    labels = label_indices(request.label_list, request.size, generator.card.classes)
    if request.latents is not None:
        return _from_latents(request.latents, labels, request.truncation, generator)
    seeds = request.seeds or [secrets.randbelow(MAX_SEED + 1) for _ in range(request.size)]
    latents, labels = generator.inputs(seeds, labels, request.truncation)
    return Inputs(seeds, latents, labels)


def _from_latents(rows: list[list[float]], labels: Labels | None, truncation: float, generator: Generator) -> Inputs:
    size = generator.card.latent_dim
    for position, row in enumerate(rows):
        if len(row) != size:
            raise InputError(
                f"latents[{position}] has {len(row)} numbers and this model takes {size}", "latents", position
            )
    latents, labels = generator.check(rows, labels)
    return Inputs(None, generator.truncate(latents, truncation), labels)


def render(images: Images, inputs: Inputs, format: Format, generator: Generator) -> bytes:
    """Images uint8 [N, H, W, C] as the body of an answer: a file, or JSON that holds each as PNG."""
    if format == "json":
        return _to_json(images, inputs, generator).encode()
    if format == "npy":
        return to_npy(images)
    if format == "zip":
        return to_zip(images, file_names(inputs.seeds, len(images), "png"))
    return encode(images[0] if len(images) == 1 else contact_sheet(images), format)


def _to_json(images: Images, inputs: Inputs, generator: Generator) -> str:
    generated = []
    for index, image in enumerate(images):
        label = None if inputs.labels is None else int(inputs.labels[index])
        generated.append(
            GeneratedImage(
                seed=inputs.seeds[index] if inputs.seeds else None,
                label=label,
                class_name=None if label is None else generator.card.classes[label],
                png=base64.b64encode(encode(image, "png")).decode(),
            )
        )
    return GenerateResponse(model_id=generator.model_id, images=generated).model_dump_json()
