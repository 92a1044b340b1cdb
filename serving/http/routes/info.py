"""Routes with information: models and their measurements, documentation, probes, metrics."""

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
    """GET /model: card and measurements of a served model."""
    state: AppState = request.app.state.mint
    generator = state.models.get(parse_query(request, ModelQuery).model)
    name = next(name for name, known in state.models.ready() if known is generator)
    response = ModelResponse(
        name=name,
        model_id=generator.model_id,
        sha256=generator.sha256,
        provider=generator.provider,
        card=generator.card,
        metrics=_model_metrics(generator.model_id),
        limits=Limits(max_images=state.settings.max_images),
    )
    return Response(response.model_dump_json(), media_type="application/json")


async def models(request: Request) -> Response:
    """GET /models: every model file of the folder, with the problem of each that cannot be served."""
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
    """GET /docs: the OpenAPI document as a page."""
    page, _ = _documentation(request.app.state.mint.settings)
    return HTMLResponse(page, headers={"Content-Security-Policy": DOCS_POLICY})


async def openapi(request: Request) -> Response:
    """GET /openapi.json: the OpenAPI document."""
    _, document = _documentation(request.app.state.mint.settings)
    return Response(document, media_type="application/json")


@lru_cache(maxsize=4)  # a process has one
def _documentation(settings: Settings) -> tuple[bytes, bytes]:
    """Render the documentation as a page and as JSON, once."""
    document = openapi_document(settings)
    return docs_page(document).encode(), json.dumps(document, ensure_ascii=False).encode()


async def livez(request: Request) -> Response:
    """GET /livez: 200 while the process responds."""
    return PlainTextResponse("alive\n")


async def readyz(request: Request) -> Response:
    """GET /readyz: 200 while the default model is loaded, its threads run and the server does not drain."""
    state: AppState = request.app.state.mint
    state.check_ready()
    return PlainTextResponse(f"ready\n{state.models.poll_problem or ''}".strip() + "\n")


def metrics(request: Request) -> Response:
    """GET /metrics: counters and histograms, summed over all workers if there are several, and gauges of this one."""
    counters = REGISTRY
    gauges = CollectorRegistry()
    gauges.register(_StateCollector(request.app.state.mint))
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # as BentoML sets it
        counters = CollectorRegistry()
        MultiProcessCollector(counters)  # type: ignore[no-untyped-call]
        ProcessCollector(registry=gauges)
    return Response(generate_latest(counters) + generate_latest(gauges), media_type=CONTENT_TYPE_LATEST)


class _StateCollector(Collector):
    """Gauges that are read when metrics are scraped, so that nothing has to keep them up to date."""

    def __init__(self, state: AppState) -> None:
        self.state = state

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of the queue and the served models."""
        batcher = self.state.batcher
        yield GaugeMetricFamily("mint_queue_images", "Images accepted and not yet done", value=batcher.pending_images)
        encoding = "Encoding accepted and not yet done, as estimated for one core"
        yield GaugeMetricFamily("mint_queue_encode_seconds", encoding, value=batcher.pending_encode_s)
        model_info = GaugeMetricFamily(
            "mint_model_info", "1 for each model served", labels=("model", "model_id", "provider")
        )
        for name, generator in self.state.models.ready():
            model_info.add_metric((name, generator.model_id, generator.provider), 1)
        yield model_info


def _model_metrics(model_id: str) -> dict[str, Any] | None:
    """Read the measurements of this very model file; None if there are only those of another."""
    try:
        metrics = json.loads(METRICS_FILE.read_bytes())
    except (OSError, ValueError):
        return None
    return metrics if isinstance(metrics, dict) and metrics.get("model_id") == model_id else None
