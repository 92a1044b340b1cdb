"""Tuned BentoML service: no tracing, no access log, and an async API, which BentoML runs without its thread limiter."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.baselines import load_generator, png


@bentoml.service(  # type: ignore[operator]  # mypy takes it for the submodule of that name
    tracing={"excluded_urls": ".*"}, logging={"access": {"enabled": False}}
)
class Tuned:
    """Images from seeds."""

    def __init__(self) -> None:
        self.generator = load_generator()
        self.thread = ThreadPoolExecutor(1)

    @bentoml.api
    async def generate(self, seed: int) -> Annotated[bytes, ContentType("image/png")]:
        """The image of a seed."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, self.png, seed)

    def png(self, seed: int) -> bytes:
        """The image of a seed as PNG."""
        images, _ = self.generator.generate([seed])
        return png(images[0])
