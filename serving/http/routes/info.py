"""The routes that tell: which models there are, how they were measured, the documentation, the probes, the figures."""

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from serving.http.api_docs import docs_page
from serving.http.openapi import openapi_document
from serving.http.parsing import parse_query
from serving.http.schemas import Limits, ListedModel, ModelQuery, ModelResponse, ModelsResponse
from serving.http.state import AppState
from serving.settings import Settings

METRICS_FILE = Path("reports/metrics.json")  # written by the pipeline's last stage
DOCS_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


async def model(request: Request) -> Response:
    """GET /model: the card of a model that is served, and how it was measured."""
    state: AppState = request.app.state.mint
    generator = state.models.get(parse_query(request, ModelQuery).model)
    name = next(name for name, known in state.models.ready() if known is generator)
    answer = ModelResponse(
        name=name,
        model_id=generator.model_id,
        sha256=generator.sha256,
        provider=generator.provider,
        card=generator.card,
        metrics=_metrics_of(generator.model_id),
        limits=Limits(max_images=state.settings.max_images),
    )
    return Response(answer.model_dump_json(), media_type="application/json")


async def models(request: Request) -> Response:
    """GET /models: every model file of the folder, and what is wrong with those that cannot be served."""
    models = request.app.state.mint.models
    problems = models.problems()
    listed = [
        ListedModel(
            name=name,
            default=name == models.default,
            model_id=generator.model_id,
            provider=generator.provider,
            card=generator.card,
            problem=problems.pop(name, None),
        )
        for name, generator in models.ready()
    ]
    refused = [
        ListedModel(
            name=name, default=name == models.default, model_id=None, provider=None, card=None, problem=sentence
        )
        for name, sentence in problems.items()
    ]
    return Response(ModelsResponse(models=listed + refused).model_dump_json(), media_type="application/json")


async def docs(request: Request) -> Response:
    """GET /docs: the OpenAPI document as a page without scripts."""
    page, _ = _documentation(request.app.state.mint.settings)
    return HTMLResponse(page, headers={"Content-Security-Policy": DOCS_POLICY})


async def openapi(request: Request) -> Response:
    """GET /openapi.json."""
    _, document = _documentation(request.app.state.mint.settings)
    return Response(document, media_type="application/json")


@lru_cache(maxsize=4)  # a process has one
def _documentation(settings: Settings) -> tuple[bytes, bytes]:
    """The documentation as a page and as JSON: the same at each request."""
    document = openapi_document(settings)
    return docs_page(document).encode(), json.dumps(document, ensure_ascii=False).encode()


async def livez(request: Request) -> Response:
    """GET /livez: the process answers."""
    return PlainTextResponse("alive\n")


async def readyz(request: Request) -> Response:
    """GET /readyz: the default model has run, images are made, and the server is not about to stop."""
    state: AppState = request.app.state.mint
    state.check_ready()
    return PlainTextResponse(f"ready\n{state.models.poll_problem or ''}".strip() + "\n")


def metrics(request: Request) -> Response:
    """GET /metrics: Mint's figures, over all workers where there are several, and the state of this one."""
    counted = REGISTRY
    current = CollectorRegistry()
    current.register(_StateCollector(request.app.state.mint))
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # as BentoML sets it
        counted = CollectorRegistry()
        MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
        ProcessCollector(registry=current)
    return Response(generate_latest(counted) + generate_latest(current), media_type=CONTENT_TYPE_LATEST)


class _StateCollector(Collector):
    """What is true at the moment of asking, so that nothing has to be kept up to date."""

    def __init__(self, state: AppState) -> None:
        self.state = state

    def collect(self) -> Iterator[Metric]:
        """The queue, and which models are served."""
        batcher = self.state.batcher
        yield GaugeMetricFamily("mint_queue_images", "Images accepted and not yet done", value=batcher.pending_images)
        encoding = "Encoding accepted and not yet done, as estimated for one core"
        yield GaugeMetricFamily("mint_queue_encode_seconds", encoding, value=batcher.pending_encode_s)
        served = GaugeMetricFamily(
            "mint_model_info", "1 for each model served", labels=("model", "model_id", "provider")
        )
        for name, generator in self.state.models.ready():
            served.add_metric((name, generator.model_id, generator.provider), 1)
        yield served


def _metrics_of(model_id: str) -> dict[str, Any] | None:
    """The measurements of this very model file, or None: those of another file would mislead."""
    try:
        measured = json.loads(METRICS_FILE.read_bytes())
    except (OSError, ValueError):
        return None
    return measured if isinstance(measured, dict) and measured.get("model_id") == model_id else None
