"""GET /images/{seed}.{ext}: one image by its URL, for caches to keep."""

import asyncio
import hashlib
from functools import partial

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from serving.encoding.images import IMAGE_FORMATS, ImageFormat
from serving.errors import InputError
from serving.http.generation import image_headers, render, run_job
from serving.http.parsing import parse_query
from serving.http.schemas import MEDIA_TYPES, ImageQuery
from serving.http.state import AppState
from serving.inference.generator import OnnxGenerator
from serving.inference.labels import label_index
from serving.inference.latents import MAX_SEED, GenerationJob

IMMUTABLE = "public, max-age=31536000, immutable"
MAX_IF_NONE_MATCH = 4096  # characters: about a hundred ETags


async def image(request: Request) -> Response:
    """GET /images/{seed}.{ext}."""
    state: AppState = request.app.state.mint
    query = parse_query(request, ImageQuery)
    generator = state.models.get(query.model)
    format = _image_format(request.path_params["ext"])
    seed = _seed(request.path_params["seed"])
    label = None if query.label is None else label_index(query.label, generator.card.class_names)
    headers = {
        "ETag": _etag(generator, seed, label, query.truncation, query.size, format),
        "Cache-Control": IMMUTABLE if query.model == generator.model_id else "no-cache",
        "X-Mint-Model": generator.model_id,
    }
    if _matches(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    labels = None if label is None else np.array([label], np.int64)
    job = GenerationJob(generator.latent_space, labels, query.truncation, seeds=[seed])
    renderer = partial(render, generator=generator, job=job, format=format, size=query.size)
    async with asyncio.timeout(state.settings.timeout):
        content, indices = await run_job(request, generator, job, renderer, format, query.size)
    return Response(content, media_type=MEDIA_TYPES[format], headers=headers | image_headers(generator, indices))


def _image_format(extension: str) -> ImageFormat:
    """The format of a file extension; raises InputError for any other."""
    extension = "jpeg" if extension.lower() == "jpg" else extension.lower()
    if extension not in IMAGE_FORMATS:
        *others, last = (f".{name}" for name in IMAGE_FORMATS)
        raise InputError(f".{extension[:20]} is not made here; ask for {', '.join(others)} or {last}", "ext")
    return extension


def _seed(text: str) -> int:
    text = text.removesuffix(".0")
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_SEED):
        raise InputError(f"{text[:20]} is not a seed; seeds are whole numbers from 0 to {MAX_SEED}", "seed")
    return int(text)


def _etag(generator: OnnxGenerator, *inputs: object) -> str:
    """The ETag of an image: model and inputs. Weak, since the bytes may differ with the batch and the library versions.

    A pixel may be 1/255 off in another batch or on another processor, and another version of a library may compress
    differently: a cache need not fetch the same image again.
    """
    return f'W/"{hashlib.sha256(repr((generator.sha256, *inputs)).encode()).hexdigest()[:32]}"'


def _matches(if_none_match: str, etag: str) -> bool:
    """True if an If-None-Match header has this ETag (RFC 9110, section 13.1.2); a huge one is ignored."""
    if len(if_none_match) > MAX_IF_NONE_MATCH:
        return False
    etags = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return "*" in etags or etag.removeprefix("W/") in etags
