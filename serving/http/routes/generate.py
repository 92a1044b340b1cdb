"""POST /generate: images from seeds, from latents or at random."""

import asyncio
import secrets
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from serving.http.generation import (
    check_count,
    class_indices,
    image_headers,
    read_admitted_body,
    rectangular,
    render,
    run_job,
)
from serving.http.npy_body import read_latents
from serving.http.parsing import JSON, offload_if_large, parse_query, preferred_format, request_media_type
from serving.http.schemas import MEDIA_TYPES, GenerateRequest, LatentsQuery, OutputFormat, Query, numbers_to_header
from serving.http.state import AppState
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import MAX_SEED, GenerationJob, Latents

NPY = MEDIA_TYPES["npy"]


async def generate(request: Request) -> Response:
    """POST /generate."""
    state: AppState = request.app.state.mint
    async with asyncio.timeout(state.settings.timeout):
        generator, job, requested_format = await _read_job(request, state)
        format = requested_format or preferred_format(request.headers.get("accept", ""), MEDIA_TYPES)
        renderer = partial(render, generator=generator, job=job, format=format)
        content, labels = await run_job(request, generator, job, renderer, format)
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


def _random_seeds(count: int) -> list[int]:
    """Consecutive seeds from a random one on: as diverse as independent ones, and a range in the header."""
    start = secrets.randbelow(MAX_SEED + 2 - count)
    return list(range(start, start + count))
