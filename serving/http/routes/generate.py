"""The routes that make images. All of them go through one queue."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from serving.errors import InputError
from serving.http.content_negotiation import preferred_format
from serving.http.exception_handlers import ClientDisconnectedError
from serving.http.generation import (
    GenerationJob,
    draw,
    draw_frames,
    draw_latents,
    draw_seed,
    picture_format,
    render,
    render_animation,
)
from serving.http.npy_body import read_latents
from serving.http.number_ranges import write_numbers
from serving.http.parsing import JSON, offload_if_large, parse_query, read_body, request_media_type
from serving.http.schemas import (
    ANIMATION_MEDIA_TYPES,
    MEDIA_TYPES,
    AnimationFormat,
    GenerateRequest,
    ImageQuery,
    InterpolateRequest,
    LatentsQuery,
    OutputFormat,
    Query,
)
from serving.http.state import AppState, app_state
from serving.inference.admission import Work
from serving.inference.executor import Images
from serving.inference.generator import OnnxGenerator
from serving.inference.labels import label_index
from serving.inference.latents import MAX_SEED

NPY = MEDIA_TYPES["npy"]
FOR_EVER = "public, max-age=31536000, immutable"
LONGEST_IF_NONE_MATCH = 4096  # characters: about a hundred ETags
LONGEST_GIF_S = 655  # a frame's time is 16 bits of hundredths, and equal frames become one
LOOK_AFTER_S = 0.05  # most answers are there before; only for the others somebody looks whether the client is


async def generate(request: Request) -> Response:
    """POST /generate: images from seeds, from latents or at random."""
    state = app_state(request)
    async with asyncio.timeout(state.settings.timeout):
        drawing, asked = await _read_generate(request, state)
        format = asked or preferred_format(request.headers.get("accept", ""), MEDIA_TYPES)
        finish = partial(render, drawing=drawing, format=format)
        content = await _make(request, state, drawing, finish, drawing.encoding_seconds(format))
    headers = _headers(drawing)
    if drawing.seeds is not None:
        headers["X-Mint-Seeds"] = write_numbers(drawing.seeds)
    return Response(content, media_type=MEDIA_TYPES[format], headers=headers)


async def interpolate(request: Request) -> Response:
    """POST /interpolate: the way from stop to stop as a film."""
    state = app_state(request)
    async with asyncio.timeout(state.settings.timeout):
        state.batcher.check_room()
        request_media_type(request.headers, JSON)
        parse_query(request, Query)
        body = await read_body(request, state.body_limit)
        asked = await offload_if_large(len(body), partial(InterpolateRequest.parse, body))
        generator = state.models.get(asked.model)
        format: AnimationFormat = asked.format or preferred_format(
            request.headers.get("accept", ""), ANIMATION_MEDIA_TYPES
        )
        drawing = await offload_if_large(len(body), partial(draw_frames, asked, generator, state.settings.max_images))
        _check_duration(asked, format)
        finish = partial(render_animation, format=format, fps=asked.fps, size=asked.size)
        content = await _make(request, state, drawing, finish, drawing.encoding_seconds(format, asked.size))
    return Response(content, media_type=ANIMATION_MEDIA_TYPES[format], headers=_headers(drawing))


async def image(request: Request) -> Response:
    """GET /images/{seed}.{ext}: one image by its address, for caches to keep."""
    state = app_state(request)
    query = parse_query(request, ImageQuery)
    generator = state.models.get(query.model)
    format = picture_format(request.path_params["ext"])
    seed = _seed(request.path_params["seed"])
    label = None if query.label is None else label_index(query.label, generator.card.class_names)
    caching = {
        "ETag": _etag(generator, seed, label, query.truncation, query.size, format),
        "Cache-Control": FOR_EVER if query.model == generator.model_id else "no-cache",
        "X-Mint-Model": generator.model_id,
    }
    if _has(request.headers.get("if-none-match", ""), caching["ETag"]):
        return Response(status_code=304, headers=caching)
    drawing = draw_seed(seed, label, query.truncation, generator)
    finish = partial(render, drawing=drawing, format=format, size=query.size)
    async with asyncio.timeout(state.settings.timeout):
        content = await _make(request, state, drawing, finish, drawing.encoding_seconds(format, query.size))
    return Response(content, media_type=MEDIA_TYPES[format], headers=caching | _headers(drawing))


async def _read_generate(request: Request, state: AppState) -> tuple[GenerationJob, OutputFormat | None]:
    """The drawing that a JSON or a .npy body asks for, and the format if it names one."""
    state.batcher.check_room()
    if request_media_type(request.headers, JSON, NPY) == NPY:
        options = parse_query(request, LatentsQuery)
        generator = state.models.get(options.model)
        latents = read_latents(await read_body(request, state.body_limit))
        return draw_latents(latents, options, generator, state.settings.max_images), options.format
    parse_query(request, Query)
    body = await read_body(request, state.body_limit)
    asked = await offload_if_large(len(body), partial(GenerateRequest.parse, body))
    generator = state.models.get(asked.model)
    if asked.size <= state.settings.max_images:
        state.batcher.check_room(Work(asked.size))  # before latents are drawn for nothing
    drawing = await offload_if_large(len(body), partial(draw, asked, generator, state.settings.max_images))
    return drawing, asked.format


async def _make(
    request: Request, state: AppState, drawing: GenerationJob, finish: Callable[[Images], bytes], encode_s: float
) -> bytes:
    """Runs the network and encodes what it makes, which takes about `encode_s`; stops when the client leaves."""
    with _while_connected(request):
        return await state.batcher.submit(drawing.generator, drawing, finish, encode_s)


@contextmanager
def _while_connected(request: Request) -> Iterator[None]:
    """Ends what is awaited inside with ClientDisconnectedError when the client closes its connection."""
    task = asyncio.current_task()
    assert task is not None
    gone = False
    watcher: asyncio.Task[None] | None = None

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    def start() -> None:
        nonlocal watcher
        watcher = asyncio.create_task(watch())

    timer = asyncio.get_running_loop().call_later(LOOK_AFTER_S, start)
    try:
        yield
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise ClientDisconnectedError("the client has closed its connection") from None
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()


def _headers(drawing: GenerationJob) -> dict[str, str]:
    """What every answer with images says about them."""
    headers = {"X-Mint-Model": drawing.generator.model_id}
    if drawing.labels is not None:
        headers["X-Mint-Labels"] = write_numbers(drawing.label_list)
    return headers


def _check_duration(asked: InterpolateRequest, format: AnimationFormat) -> None:
    """Raises InputError for a GIF that could not say how long its one frame is, were all its frames the same."""
    seconds = asked.frames * round(1000 / asked.fps) / 1000
    if format == "gif" and seconds > LONGEST_GIF_S:
        raise InputError(
            f"{asked.frames} frames at {asked.fps:g} a second last longer than the {LONGEST_GIF_S} s of a GIF; ask for "
            "more frames a second, for fewer frames, or for webp",
            "fps",
        )


def _seed(text: str) -> int:
    text = text.removesuffix(".0")
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_SEED):
        raise InputError(f"{text[:20]} is not a seed; seeds are whole numbers from 0 to {MAX_SEED}", "seed")
    return int(text)


def _etag(generator: OnnxGenerator, *asked: object) -> str:
    """Names the picture: the model and what is asked of it. Weak, since its bytes may differ by what they ran beside.

    A pixel may be 1/255 off in another batch or on another processor, and a file be packed otherwise by another
    version of a library: a cache need not ask for the same picture again.
    """
    return f'W/"{hashlib.sha256(repr((generator.sha256, *asked)).encode()).hexdigest()[:32]}"'


def _has(if_none_match: str, etag: str) -> bool:
    """Whether an If-None-Match header names this ETag (RFC 9110, section 13.1.2); a huge one is passed over."""
    if len(if_none_match) > LONGEST_IF_NONE_MATCH:
        return False
    named = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return "*" in named or etag.removeprefix("W/") in named
