"""POST /generate: images from seeds, from latents or at random; and the steps that all image routes share.

A request becomes a GenerationJob, the batcher runs it, and a thread of the batcher renders the images as the content of
the response.
"""

import asyncio
import base64
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

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
from serving.http.npy_body import read_latents
from serving.http.parsing import (
    JSON,
    max_body_bytes,
    offload_if_large,
    parse_query,
    preferred_format,
    read_body,
    request_media_type,
)
from serving.http.schemas import (
    MEDIA_TYPES,
    AnimationFormat,
    GeneratedImage,
    GenerateRequest,
    GenerateResponse,
    LatentsQuery,
    OutputFormat,
    Query,
    numbers_to_header,
)
from serving.http.state import AppState
from serving.inference.generator import OnnxGenerator
from serving.inference.labels import label_indices
from serving.inference.latents import MAX_SEED, GenerationJob, Images, Labels, Latents

NPY = MEDIA_TYPES["npy"]
DISCONNECT_CHECK_DELAY_S = 0.05  # most responses are ready before; only slower ones check whether the client is there

Indices = list[int] | None  # the class of each image; None for a model without classes


async def generate(request: Request) -> Response:
    """POST /generate."""
    state: AppState = request.app.state.mint
    async with asyncio.timeout(state.settings.timeout):
        generator, job, requested_format = await _read_job(request, state)
        format = requested_format or preferred_format(request.headers.get("accept", ""), MEDIA_TYPES)
        finish = partial(render, generator=generator, job=job, format=format)
        content, labels = await run_job(request, generator, job, finish, format)
    headers = image_headers(generator, labels)
    if job.seeds is not None:
        headers["X-Mint-Seeds"] = numbers_to_header(job.seeds)
    return Response(content, media_type=MEDIA_TYPES[format], headers=headers)


async def _read_job(request: Request, state: AppState) -> tuple[OnnxGenerator, GenerationJob, OutputFormat | None]:
    """The job in a JSON or a .npy body, and the format if it names one."""
    if request_media_type(request.headers, JSON, NPY) == NPY:
        query = parse_query(request, LatentsQuery)
        generator = state.models.get(query.model)
        latents = read_latents(await read_admitted_body(request, state))
        return generator, job_from_array(latents, query, generator, state.settings.max_images), query.format
    parse_query(request, Query)
    body = await read_admitted_body(request, state)
    options = await offload_if_large(len(body), partial(GenerateRequest.parse, body))
    generator = state.models.get(options.model)
    job = await offload_if_large(len(body), partial(job_from_json, options, generator, state.settings.max_images))
    return generator, job, options.format


async def read_admitted_body(request: Request, state: AppState) -> bytes:
    """The body of a request, unless the queue is full: refused here, it costs no reading and parsing.

    The decision is the batcher's when the job is submitted, which then has its number of images. Raises QueueFullError.
    """
    state.batcher.check_admission()
    # The largest request to any model: the body is read before it names one.
    return await read_body(request, max_body_bytes(state.settings.max_images, state.models.max_latent_dim()))


def job_from_json(request: GenerateRequest, generator: OnnxGenerator, max_images: int) -> GenerationJob:
    """The job of a JSON body; raises InputError for more than `max_images`, and for inputs that the model lacks."""
    check_count(request.size, max_images, request.source)
    labels = class_indices(request.labels, request.size, generator)
    if request.latents is not None:
        latents, labels = generator.check(rectangular(request.latents, generator), labels)
        return GenerationJob(generator.latent_space, labels, request.truncation, latents=latents)
    seeds = request.seeds or _random_seeds(request.size)
    return GenerationJob(generator.latent_space, labels, request.truncation, seeds=seeds)


def job_from_array(latents: Latents, query: LatentsQuery, generator: OnnxGenerator, max_images: int) -> GenerationJob:
    """The job of a .npy body with latents [N, D]; raises InputError as `job_from_json` does."""
    check_count(len(latents), max_images, "body")
    latents, labels = generator.check(latents, class_indices(query.labels, len(latents), generator))
    return GenerationJob(generator.latent_space, labels, query.truncation, latents=latents)


async def run_job(
    request: Request,
    generator: OnnxGenerator,
    job: GenerationJob,
    finish: Callable[[Images, Indices], bytes],
    format: OutputFormat | AnimationFormat,
    size: int | None = None,
) -> tuple[bytes, Indices]:
    """Generates the images of a job and returns what `finish` renders of them, and their labels.

    format, size: what `finish` makes, for an estimate of its cost; size: pixels of a side, None: the model's own.
    Raises ClientDisconnectedError when the client disconnects.
    """

    def finish_in_thread(images: Images, labels: Labels | None) -> tuple[bytes, Indices]:
        indices = None if labels is None else labels.tolist()
        return finish(images, indices), indices

    card = generator.card
    encode_s = encoding_seconds(len(job), size or card.resolution, card.channels, format)
    state: AppState = request.app.state.mint
    with _cancelled_on_disconnect(request):
        return await state.batcher.submit(generator, job, finish_in_thread, encode_s)


@contextmanager
def _cancelled_on_disconnect(request: Request) -> Iterator[None]:
    """Cancels the body and raises ClientDisconnectedError when the client closes its connection."""
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
    if len(images) == 1:
        return encode(images[0], format, texts[0] if texts else None)
    text = contact_sheet_metadata(generator.model_id, job.truncation, job.seeds, labels)
    return encode(contact_sheet(images), format, text)


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
    """Raises InputError for more images than a request may have."""
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


def _random_seeds(count: int) -> list[int]:
    """Consecutive seeds from a random one on: the images are as different, and a header can list them all."""
    start = secrets.randbelow(MAX_SEED + 2 - count)
    return list(range(start, start + count))
