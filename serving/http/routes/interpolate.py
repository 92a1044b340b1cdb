"""POST /interpolate: the path through keyframes as an animation."""

import asyncio
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from serving.encoding.images import encode, resize
from serving.encoding.multi_image import strip, to_animation, to_npy
from serving.errors import InputError
from serving.http.generation import (
    Indices,
    check_count,
    class_indices,
    image_headers,
    read_admitted_body,
    rectangular,
    run_job,
)
from serving.http.parsing import JSON, offload_if_large, parse_query, preferred_format, request_media_type
from serving.http.schemas import ANIMATION_MEDIA_TYPES, AnimationFormat, InterpolateRequest, Query
from serving.http.state import AppState
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import GenerationJob, Images
from serving.inference.latents import interpolate as interpolate_latents

MAX_ANIMATION_PIXELS = 2**24  # of all resized frames: 50 MB in RGB
MAX_GIF_S = 655  # a frame's time is 16 bits of hundredths, and equal frames become one


async def interpolate(request: Request) -> Response:
    """POST /interpolate."""
    state: AppState = request.app.state.mint
    async with asyncio.timeout(state.settings.timeout):
        request_media_type(request.headers, JSON)
        parse_query(request, Query)
        body = await read_admitted_body(request, state)
        options = await offload_if_large(len(body), partial(InterpolateRequest.parse, body))
        generator = state.models.get(options.model)
        accept = request.headers.get("accept", "")
        format: AnimationFormat = options.format or preferred_format(accept, ANIMATION_MEDIA_TYPES)
        job = await offload_if_large(len(body), partial(frames_job, options, generator, state.settings.max_images))
        _check_duration(options, format)
        background = generator.card.background
        renderer = partial(render_animation, format=format, fps=options.fps, size=options.size, background=background)
        content, labels = await run_job(request, generator, job, renderer, format, options.size)
    return Response(content, media_type=ANIMATION_MEDIA_TYPES[format], headers=image_headers(generator, labels))


def frames_job(request: InterpolateRequest, generator: OnnxGenerator, max_images: int) -> GenerationJob:
    """The frames between the keyframes; raises InputError for too many, and for inputs that the model lacks."""
    check_count(request.frames, max_images, "steps")
    resolution = None if request.size is None else generator.card.resolution.scaled_to(request.size)
    if resolution is not None and request.frames * resolution.pixels > MAX_ANIMATION_PIXELS:
        raise InputError(
            f"{request.frames} frames of {resolution.height}x{resolution.width} are more than {MAX_ANIMATION_PIXELS} "
            "pixels; ask for a smaller size or fewer frames",
            "size",
        )
    labels = class_indices(request.labels, len(request.seeds or request.latents or ()), generator)
    if request.latents is not None:
        keyframes, labels = generator.check(rectangular(request.latents, generator), labels)
    else:
        keyframes, labels = generator.latent_space.sample(request.seeds or [], labels)
    frames, nearest = interpolate_latents(keyframes, request.steps, request.path, request.loop)
    frame_labels = None if labels is None else labels[nearest]
    return GenerationJob(generator.latent_space, frame_labels, request.truncation, latents=frames)


def render_animation(
    images: Images, labels: Indices, format: AnimationFormat, fps: float, size: int | None, background: str
) -> bytes:
    """Frames uint8 [N, H, W, C] as the content of a response: an animation, their pixels, or a strip of all of them."""
    if size is not None:
        images = resize(images, size)
    if format == "npy":
        return to_npy(images)
    if format == "png":
        return encode(strip(images), "png")
    return to_animation(images, format, fps, background)


def _check_duration(request: InterpolateRequest, format: AnimationFormat) -> None:
    """Raise InputError for a GIF whose frames, if all were equal, would be one frame longer than the format allows."""
    seconds = request.frames * round(1000 / request.fps) / 1000
    if format == "gif" and seconds > MAX_GIF_S:
        raise InputError(
            f"{request.frames} frames at {request.fps:g} a second last longer than the {MAX_GIF_S} s of a GIF; ask for "
            "more frames a second, for fewer frames, or for webp",
            "fps",
        )
