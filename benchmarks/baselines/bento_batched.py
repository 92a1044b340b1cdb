"""BentoML service with its adaptive batching: tracing and access log off, the same largest batch as Mint."""

from typing import Any

import bentoml
from _bentoml_sdk import IODescriptor
from starlette.responses import Response

from benchmarks.baselines import load_generator, png
from serving.inference.generator import MAX_BATCH


class Png(IODescriptor):
    """Response with one PNG file as its body, instead of a list of them in JSON."""

    @classmethod
    async def to_http_response(cls, obj: Any, serde: Any) -> Response:
        """Build the response. obj: the items of the batch's result that belong to this request."""
        return Response(obj[0], media_type="image/png")


@bentoml.service(  # type: ignore[operator]  # mypy takes it for the submodule of that name
    tracing={"excluded_urls": ".*"}, logging={"access": {"enabled": False}}
)
class Batched:
    """Images from seeds."""

    def __init__(self) -> None:
        self.generator = load_generator()

    # max_latency_ms is not a batching window: BentoML rejects requests that would take longer.
    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=10_000, output_spec=Png)
    def generate(self, seeds: list[int]) -> list[bytes]:
        """The images of the seeds of all requests in the batch."""
        images, _ = self.generator.generate(seeds)
        return [png(image) for image in images]
