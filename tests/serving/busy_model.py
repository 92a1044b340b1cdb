"""A network that is busy for as long as a test needs it to be."""

import asyncio
import threading

from serving.inference.batcher import Batcher
from serving.inference.executor import ArrayInputs, BatchInputs, Images
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import Labels, Latents


async def generate_images(
    batcher: Batcher, generator: OnnxGenerator, latents: Latents, labels: Labels | None
) -> Images:
    """The images themselves, as a caller without an encoding gets them."""
    return await batcher.submit(generator, ArrayInputs(latents, labels), lambda images: images)


class BusyModel:
    """Keeps the network busy until it is let go, so that others pile up behind it."""

    def __init__(self, batcher: Batcher, generator: OnnxGenerator) -> None:
        self.release = threading.Event()
        self.running = threading.Event()
        self.task = asyncio.create_task(self._occupy(batcher, generator))

    async def _occupy(self, batcher: Batcher, generator: OnnxGenerator) -> None:
        held = OnnxGenerator(generator.path, generator.card, generator.sha256, generator._network)
        run = held.run

        def wait_and_run(inputs: BatchInputs) -> Images:
            self.running.set()
            assert self.release.wait(60)
            return run(inputs)

        held.run = wait_and_run  # type: ignore[method-assign]
        await generate_images(batcher, held, *generator.inputs([0]))

    async def wait_until_running(self) -> None:
        while not self.running.is_set():
            await asyncio.sleep(0.001)

    async def finish(self) -> None:
        self.release.set()
        await self.task
