"""A model that is busy for as long as a test needs it to be."""

import asyncio
import threading

from serving.inference.batcher import Batcher
from serving.inference.executor import BatchOutput, ParallelSession
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import ArrayInputs, BatchInputs, Images, Labels, Latents


async def generate_images(
    batcher: Batcher, generator: OnnxGenerator, latents: Latents, labels: Labels | None
) -> Images:
    """Submit latents and return the images as they are, without encoding."""
    return await batcher.submit(generator, ArrayInputs(latents, labels), lambda images, labels: images)


class BusySession(ParallelSession):
    """A session whose runs wait until they are released, and then run in another session."""

    def __init__(self, session: ParallelSession) -> None:
        self.session = session
        self.release = threading.Event()
        self.running = threading.Event()

    def run(self, inputs: BatchInputs) -> BatchOutput:
        self.running.set()
        assert self.release.wait(60)
        return self.session.run(inputs)


class BusyModel:
    """Occupies the batcher with a run until `finish`, so that later requests queue up behind it."""

    def __init__(self, batcher: Batcher, generator: OnnxGenerator) -> None:
        self.session = BusySession(generator.session)
        busy = OnnxGenerator(generator.path, generator.card, generator.sha256, self.session)
        self.task = asyncio.create_task(generate_images(batcher, busy, *generator.latent_space.sample([0])))

    async def wait_until_running(self) -> None:
        while not self.session.running.is_set():
            await asyncio.sleep(0.001)

    async def finish(self) -> None:
        self.session.release.set()
        await self.task
