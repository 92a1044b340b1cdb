"""A request becomes what the network is fed, and the network's images become the body of an answer."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from serving.encoding.cost import encoding_seconds
from serving.encoding.images import (
    ImageFormat,
    animation,
    contact_sheet,
    encode,
    file_names,
    scaled,
    strip,
    to_npy,
    to_zip,
)
from serving.encoding.png_metadata import origin, sheet_origin
from serving.errors import InputError
from serving.http.schemas import (
    AnimationFormat,
    GeneratedImage,
    GenerateRequest,
    GenerateResponse,
    InterpolateRequest,
    LatentsQuery,
    OutputFormat,
)
from serving.inference.executor import ArrayInputs, Feed, Images
from serving.inference.generator import OnnxGenerator
from serving.inference.labels import label_indices
from serving.inference.latents import MAX_SEED, Labels, Latents, frames_between

MAX_ANIMATION_PIXELS = 2**24  # of all frames of one scaled film: 50 MB


@dataclass(frozen=True)
class GenerationJob:
    """What the network is fed for one request, and where it came from."""

    generator: OnnxGenerator
    seeds: list[int] | None  # None for latents that came with the request
    latents: Latents  # [N, latent_dim], before truncation; a seed's is there when `feed` has drawn it
    labels: Labels | None  # [N]; None for a model without classes
    truncation: float
    labels_from_seeds: bool = False  # then a label, too, is there when `feed` has drawn it

    def __len__(self) -> int:
        return len(self.latents)

    def feed(self, rows: slice) -> Feed:
        """What the network reads for these rows."""
        if self.seeds is not None:
            self._draw(self.seeds[rows], rows)
        labels = None if self.labels is None else self.labels[rows]
        return ArrayInputs(self.generator.truncate(self.latents[rows], self.truncation), labels).feed(slice(None))

    def _draw(self, seeds: list[int], rows: slice) -> None:
        """Puts what these seeds stand for into its rows."""
        asked = None if self.labels is None or self.labels_from_seeds else self.labels[rows]
        self.latents[rows], labels = self.generator.inputs(seeds, asked)
        if self.labels is not None and labels is not None:
            self.labels[rows] = labels

    @cached_property
    def label_list(self) -> list[int]:
        """The class index of each image; empty for a model without classes."""
        return [] if self.labels is None else self.labels.tolist()

    def encoding_seconds(self, format: OutputFormat | AnimationFormat, size: int | None = None) -> float:
        """Estimated seconds of one core to make the answer; size: pixels of a side, None: the model's own."""
        card = self.generator.card
        return encoding_seconds(len(self), size or card.resolution, card.channels, format)

    def origin(self, index: int) -> dict[str, str]:
        """The text chunks of one image."""
        seed = None if self.seeds is None else self.seeds[index]
        label = self.label_list[index] if self.label_list else None
        return origin(self.generator, self.truncation, seed, label, self.latents[index])


def draw(request: GenerateRequest, generator: OnnxGenerator, max_images: int) -> GenerationJob:
    """Draws or reads the latents and the labels that are asked for.

    Raises InputError for more than `max_images`, and for whatever this model cannot make.
    """
    _check_number(request.size, max_images, request.source)
    labels = label_indices(_as_list(request.labels), request.size, generator.card.class_names)
    if request.latents is not None:
        latents, labels = generator.check(_rectangular(request.latents, generator), labels)
        return GenerationJob(generator, None, latents, labels, request.truncation)
    seeds = request.seeds or _random_seeds(request.size)
    return _from_seeds(seeds, labels, request.truncation, generator)


def draw_latents(latents: Latents, query: LatentsQuery, generator: OnnxGenerator, max_images: int) -> GenerationJob:
    """The same for latents [N, D] that came as a .npy body; raises InputError as `draw` does."""
    _check_number(len(latents), max_images, "body")
    labels = label_indices(query.labels, len(latents), generator.card.class_names)
    latents, labels = generator.check(latents, labels)
    return GenerationJob(generator, None, latents, labels, query.truncation)


def draw_seed(seed: int, label: int | None, truncation: float, generator: OnnxGenerator) -> GenerationJob:
    """The same for one image; label: index of its class, None lets the seed draw its own."""
    labels = None if label is None else np.array([label], np.int64)
    return _from_seeds([seed], labels, truncation, generator)


def draw_frames(request: InterpolateRequest, generator: OnnxGenerator, max_images: int) -> GenerationJob:
    """The frames between the stops of a film; raises InputError as `draw` does."""
    _check_number(request.frames, max_images, "steps")
    if request.size is not None and request.frames * request.size**2 > MAX_ANIMATION_PIXELS:
        raise InputError(
            f"{request.frames} frames of {request.size}x{request.size} are more than {MAX_ANIMATION_PIXELS} pixels; "
            "ask for a smaller size or fewer frames",
            "size",
        )
    stops = len(request.seeds or request.latents or ())
    labels = label_indices(_as_list(request.labels), stops, generator.card.class_names)
    if request.latents is not None:
        latents, labels = generator.check(_rectangular(request.latents, generator), labels)
    else:
        latents, labels = generator.inputs(request.seeds or [], labels)
    frames, nearest = frames_between(latents, request.steps, request.path, request.loop)
    return GenerationJob(generator, None, frames, None if labels is None else labels[nearest], request.truncation)


def render(images: Images, drawing: GenerationJob, format: OutputFormat, size: int | None = None) -> bytes:
    """Images uint8 [N, H, W, C] as the body of an answer: a file, or JSON that holds each as PNG."""
    if size is not None:
        images = scaled(images, size)
    if format == "json":
        return _to_json(images, drawing).encode()
    if format == "npy":
        return to_npy(images)
    origins = [drawing.origin(index) for index in range(len(images))] if format in ("png", "zip") else []
    if format == "zip":
        return to_zip(images, file_names(drawing.seeds, len(images), "png"), origins)
    if len(images) == 1:
        return encode(images[0], format, origins[0] if origins else None)
    text = sheet_origin(drawing.generator, drawing.truncation, drawing.seeds, drawing.label_list)
    return encode(contact_sheet(images), format, text)


def render_animation(images: Images, format: AnimationFormat, fps: float, size: int | None) -> bytes:
    """Frames uint8 [N, H, W, C] as the body of an answer: a film, their pixels, or all of them in one row."""
    if size is not None:
        images = scaled(images, size)
    if format == "npy":
        return to_npy(images)
    if format == "png":
        return encode(strip(images), "png")
    return animation(images, format, fps)


def _from_seeds(seeds: list[int], labels: Labels | None, truncation: float, generator: OnnxGenerator) -> GenerationJob:
    """The latents are drawn by `feed`, share by share, while the network already runs the first of them."""
    latents = np.empty((len(seeds), generator.card.latent_dim), np.float32)
    if labels is not None or not generator.card.classes:
        return GenerationJob(generator, seeds, latents, labels, truncation)
    return GenerationJob(generator, seeds, latents, np.empty(len(seeds), np.int64), truncation, labels_from_seeds=True)


def _random_seeds(count: int) -> list[int]:
    """Seeds one after another from a random one on: the images are as different, and a header can list them all."""
    start = secrets.randbelow(MAX_SEED + 2 - count)
    return list(range(start, start + count))


def _check_number(asked: int, max_images: int, field: str) -> None:
    if asked > max_images:
        raise InputError(
            f"a request may be for {max_images} images and this one is for more; split it into several", field
        )


def _rectangular(rows: list[list[float]], generator: OnnxGenerator) -> NDArray[np.float64]:
    """The rows as one array; raises InputError for the first that is not as long as the model's latents."""
    size = generator.card.latent_dim
    for position, row in enumerate(rows):
        if len(row) != size:
            raise InputError(
                f"latents[{position}] has {len(row)} numbers and this model takes {size}", "latents", position
            )
    return np.array(rows)


def _as_list(labels: int | str | list[int | str] | None) -> Sequence[int | str] | None:
    return [labels] if isinstance(labels, int | str) else labels


def _to_json(images: Images, drawing: GenerationJob) -> str:
    classes = drawing.generator.card.classes
    generated = []
    for index, image in enumerate(images):
        label = drawing.label_list[index] if drawing.label_list else None
        generated.append(
            GeneratedImage(
                seed=drawing.seeds[index] if drawing.seeds else None,
                label=label,
                class_name=None if label is None else classes[label],
                latent=drawing.latents[index].tolist(),
                png=base64.b64encode(encode(image, "png", drawing.origin(index))).decode(),
            )
        )
    return GenerateResponse(model_id=drawing.generator.model_id, images=generated).model_dump_json()


def picture_format(extension: str) -> ImageFormat:
    """The format of a file's extension; raises InputError for one that is not made here."""
    extension = "jpeg" if extension.lower() == "jpg" else extension.lower()
    if extension not in ("png", "jpeg", "webp"):
        raise InputError(f".{extension[:20]} is not made here; ask for .png, .jpeg or .webp", "ext")
    return cast(ImageFormat, extension)
