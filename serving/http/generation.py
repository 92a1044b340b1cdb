"""Steps that the image routes share: read the body, run a GenerationJob, render the images as a response's content."""

import asyncio
import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from serving.encoding.images import (
    contact_sheet,
    contact_sheet_metadata,
    encode,
    encoding_seconds,
    png_metadata,
    resize,
)
from serving.encoding.multi_image import file_names, to_npy, to_zip
from serving.errors import ClientDisconnectedError, InputError
from serving.http.parsing import max_body_bytes, read_body
from serving.http.schemas import AnimationFormat, GeneratedImage, GenerateResponse, OutputFormat, numbers_to_header
from serving.http.state import AppState
from serving.inference.generator import OnnxGenerator
from serving.inference.labels import label_indices
from serving.inference.latents import GenerationJob, Images, Labels

DISCONNECT_CHECK_DELAY_S = 0.05  # most responses are ready by then; only slower ones watch for a disconnect

Indices = list[int] | None  # the class of each image; None for a model without classes


async def read_admitted_body(request: Request, state: AppState) -> bytes:
    """Read the body of a request; raises QueueFullError if the queue is full, which saves reading and parsing.

    The batcher checks again when the job is submitted and its number of images is known.
    """
    state.batcher.check_admission()
    # The largest request to any model: the body is read before it names one.
    return await read_body(request, max_body_bytes(state.settings.max_images, state.models.max_latent_dim()))


async def run_job(
    request: Request,
    generator: OnnxGenerator,
    job: GenerationJob,
    renderer: Callable[[Images, Indices], bytes],
    format: OutputFormat | AnimationFormat,
    size: int | None = None,
) -> tuple[bytes, Indices]:
    """Generate the images of a job and return them as rendered by `renderer`, and their labels.

    format, size: those of the rendered images, to estimate the cost; size: pixels of the longer side, None: the
    model's own.
    Raises ClientDisconnectedError when the client disconnects.
    """

    def render_in_thread(images: Images, labels: Labels | None) -> tuple[bytes, Indices]:
        indices = None if labels is None else labels.tolist()
        return renderer(images, indices), indices

    card = generator.card
    resolution = card.resolution if size is None else card.resolution.scaled_to(size)
    encode_s = encoding_seconds(len(job), resolution, card.channels, format)
    state: AppState = request.app.state.mint
    with _cancelled_on_disconnect(request):
        return await state.batcher.submit(generator, job, render_in_thread, encode_s)


@contextmanager
def _cancelled_on_disconnect(request: Request) -> Iterator[None]:
    """Cancel the body and raise ClientDisconnectedError when the client closes its connection."""
    task = asyncio.current_task()
    assert task is not None
    disconnected = False
    watcher: asyncio.Task[None] | None = None

    async def watch() -> None:
        nonlocal disconnected
        while (await request.receive())["type"] != "http.disconnect":
            pass
        disconnected = True
        task.cancel()

    def start() -> None:
        nonlocal watcher
        watcher = asyncio.create_task(watch())

    timer = asyncio.get_running_loop().call_later(DISCONNECT_CHECK_DELAY_S, start)
    try:
        yield
    except asyncio.CancelledError:
        if not disconnected:
            raise
        task.uncancel()
        raise ClientDisconnectedError("the client has closed its connection") from None
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()


def render(
    images: Images,
    labels: Indices,
    generator: OnnxGenerator,
    job: GenerationJob,
    format: OutputFormat,
    size: int | None = None,
) -> bytes:
    """Images uint8 [N, H, W, C] as the content of a response: a file, or JSON that holds each as PNG."""
    if size is not None:
        images = resize(images, size)
    if format == "json":
        return _to_json(images, labels, generator, job).encode()
    if format == "npy":
        return to_npy(images)
    texts = _png_texts(labels, generator, job) if format in ("png", "zip") else []
    if format == "zip":
        return to_zip(images, file_names(job.seeds, len(images), "png"), texts)
    background = generator.card.background
    if len(images) == 1:
        return encode(images[0], format, texts[0] if texts else None, background)
    text = contact_sheet_metadata(generator.model_id, job.truncation, job.seeds, labels)
    return encode(contact_sheet(images), format, text, background)


def _to_json(images: Images, labels: Indices, generator: OnnxGenerator, job: GenerationJob) -> str:
    latents, _ = job.sample(slice(0, len(job)))
    generated = [
        GeneratedImage(
            seed=job.seeds[index] if job.seeds else None,
            label=labels[index] if labels else None,
            class_name=generator.card.classes[labels[index]] if labels else None,
            latent=latents[index].tolist(),
            png=base64.b64encode(encode(image, "png", text)).decode(),
        )
        for index, (image, text) in enumerate(zip(images, _png_texts(labels, generator, job), strict=True))
    ]
    return GenerateResponse(model_id=generator.model_id, images=generated).model_dump_json()


def _png_texts(labels: Indices, generator: OnnxGenerator, job: GenerationJob) -> list[dict[str, str]]:
    """The PNG text chunks of each image."""
    return [
        png_metadata(
            generator.model_id,
            job.truncation,
            seed=job.seeds[index] if job.seeds else None,
            class_name=generator.card.classes[labels[index]] if labels else None,
            latent=None if job.latents is None else job.latents[index],
        )
        for index in range(len(job))
    ]


def image_headers(generator: OnnxGenerator, labels: Indices) -> dict[str, str]:
    """The headers that describe generated images."""
    headers = {"X-Mint-Model": generator.model_id}
    if labels is not None:
        headers["X-Mint-Labels"] = numbers_to_header(labels)
    return headers


def check_count(count: int, max_images: int, field: str) -> None:
    """Raise InputError for more images than a request may have."""
    if count > max_images:
        raise InputError(
            f"a request may be for {max_images} images and this one is for more; split it into several", field
        )


def class_indices(
    labels: int | str | Sequence[int | str] | None, count: int, generator: OnnxGenerator
) -> Labels | None:
    """The labels of a request as int64 [count], None where it has none; raises InputError as `label_indices` does."""
    if labels is None:
        return None
    return label_indices([labels] if isinstance(labels, int | str) else labels, count, generator.card.class_names)


def rectangular(rows: list[list[float]], generator: OnnxGenerator) -> NDArray[np.float64]:
    """The rows as one array; raises InputError for the first that is not as long as the model's latents."""
    size = generator.card.latent_dim
    for position, row in enumerate(rows):
        if len(row) != size:
            raise InputError(
                f"latents[{position}] has {len(row)} numbers and this model takes {size}", "latents", position
            )
    return np.array(rows)
