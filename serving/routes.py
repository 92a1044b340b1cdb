"""The HTTP surface: a Starlette app that answers every path, and every error in one shape."""

import asyncio
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from http import HTTPStatus
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from serving.batching import Batcher, QueueFull
from serving.docs import docs_page
from serving.errors import InputError, MintError
from serving.generation import render, resolve
from serving.negotiation import preferred_format
from serving.openapi import openapi_document
from serving.schemas import MEDIA_TYPES, ErrorResponse, GenerateRequest, ModelResponse, Problem
from serving.settings import Settings

logger = logging.getLogger(__name__)

GENERATE_TIMEOUT_S = 60
METRICS_FILE = Path("reports/metrics.json")  # written by the pipeline's last stage
DOCS_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class NotReady(MintError):
    """The model is still loading, or could not be loaded."""


class BodyTooLarge(MintError):
    """A body larger than the largest request there can be."""


@dataclass
class Backend:
    """What the routes answer from; whoever runs the app fills in the batcher when the model is warm."""

    settings: Settings
    batcher: Batcher | None = None
    failure: str | None = None  # why there will be none

    @property
    def ready(self) -> Batcher:
        """The batcher; raises NotReady while there is none."""
        if self.batcher is None:
            raise NotReady(self.failure or "the model is still loading; try again in a moment")
        return self.batcher


def create_app(backend: Backend) -> Starlette:
    """The app. It never lets an error through without an answer: BentoML's timeout would wait for one."""
    app = Starlette(
        routes=[
            Route("/", index),
            Route("/generate", generate, methods=["POST"]),
            Route("/model", model),
            Route("/docs", docs),
            Route("/openapi.json", openapi),
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ],
        exception_handlers={
            MintError: _on_mint_error,
            TimeoutError: _on_timeout,
            HTTPException: _on_http_error,
            ClientDisconnect: _on_disconnect,
            Exception: _on_bug,
        },
    )
    app.router.redirect_slashes = False
    app.state.backend = backend
    return app


async def generate(request: Request) -> Response:
    """POST /generate: images from seeds, from latents or at random."""
    backend = _backend(request)
    batcher = backend.ready
    generator = batcher.generator
    body = await _json_body(request, backend.settings.max_body_bytes(generator.card.latent_dim))
    asked = GenerateRequest.parse(body)
    format = asked.format or preferred_format(request.headers.get("accept", ""))
    inputs = resolve(asked, generator, backend.settings.max_images)
    async with asyncio.timeout(GENERATE_TIMEOUT_S):
        images = await batcher.submit(inputs.latents, inputs.labels)
    content = await asyncio.to_thread(render, images, inputs, format, generator)
    headers = {"X-Mint-Model": generator.model_id}
    if inputs.seeds is not None:
        headers["X-Mint-Seeds"] = ",".join(map(str, inputs.seeds))
    if inputs.labels is not None:
        headers["X-Mint-Labels"] = ",".join(map(str, inputs.labels))
    return Response(content, media_type=MEDIA_TYPES[format], headers=headers)


async def model(request: Request) -> Response:
    """GET /model: the card of the model that is served, and how it was measured."""
    generator = _backend(request).ready.generator
    answer = ModelResponse(
        model_id=generator.model_id,
        sha256=generator.sha256,
        provider=generator.provider,
        card=generator.card,
        metrics=_metrics_of(generator.model_id),
    )
    return Response(answer.model_dump_json(), media_type="application/json")


async def index(request: Request) -> Response:
    """GET /: to the documentation, wherever a proxy has put it."""
    return RedirectResponse("docs")


async def docs(request: Request) -> Response:
    """GET /docs: the OpenAPI document as a page without scripts."""
    page = docs_page(openapi_document(_backend(request).settings.max_images))
    return HTMLResponse(page, headers={"Content-Security-Policy": DOCS_POLICY})


async def openapi(request: Request) -> Response:
    """GET /openapi.json."""
    return JSONResponse(openapi_document(_backend(request).settings.max_images))


async def livez(request: Request) -> Response:
    """GET /livez: the process answers."""
    return PlainTextResponse("alive\n")


async def readyz(request: Request) -> Response:
    """GET /readyz: the model is loaded and has run."""
    _ = _backend(request).ready
    return PlainTextResponse("ready\n")


def metrics(request: Request) -> Response:
    """GET /metrics: BentoML's and Mint's figures, over all workers where there are several."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


async def _json_body(request: Request, limit: int) -> bytes:
    """The body, of at most `limit` bytes; raises BodyTooLarge before the rest is read."""
    media_type = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise InputError(
            f"the body is sent as {media_type[:60]}; send JSON with the header Content-Type: application/json",
            "Content-Type",
        )
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLarge(f"the body is larger than {limit} bytes; ask for fewer images at a time")
    return bytes(body)


def _metrics_of(model_id: str) -> dict[str, Any] | None:
    """The measurements of this very model file, or None: those of another file would mislead."""
    try:
        measured = json.loads(METRICS_FILE.read_bytes())
    except (OSError, ValueError):
        return None
    return measured if isinstance(measured, dict) and measured.get("model_id") == model_id else None


def _error(
    status: int, sentence: str, loc: Sequence[str | int] = (), headers: dict[str, str] | None = None
) -> Response:
    detail = [Problem(loc=list(loc), msg=sentence)] if loc else []
    body = ErrorResponse(error=sentence, detail=detail).model_dump_json()
    return Response(body, status, headers, media_type="application/json")


async def _on_mint_error(request: Request, error: Exception) -> Response:
    match error:
        case InputError():
            return _error(400, str(error), error.loc)
        case BodyTooLarge():
            return _error(413, str(error))
        case QueueFull():
            return _error(429, str(error), headers={"Retry-After": str(error.retry_after_s)})
        case NotReady():
            return _error(503, str(error), headers={"Retry-After": "1"})
    raise error  # of any other kind it is the server's fault


async def _on_timeout(request: Request, error: Exception) -> Response:
    return _error(504, f"the images were not ready within {GENERATE_TIMEOUT_S} s; ask for fewer or try again later")


async def _on_http_error(request: Request, error: Exception) -> Response:
    """404 and 405, as Starlette's router raises them."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == HTTPStatus.NOT_FOUND:
        paths = [route.path for route in request.app.routes]
        nearest = get_close_matches(path, paths, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "see /docs for what there is"
        return _error(404, f"there is nothing at {path[:60]}; {hint}")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return _error(405, f"{path} does not answer {request.method}; use {headers['Allow']}", headers=headers)
    return _error(error.status_code, error.detail, headers=headers)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return _error(400, "the connection ended before the body did")


async def _on_bug(request: Request, error: Exception) -> Response:
    """The one answer that is Mint's fault; Starlette raises the error again, so that it is logged."""
    return _error(500, "something went wrong in the server; its log says what")
