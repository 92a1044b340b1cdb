"""Plain BentoML service: default settings, one session run a request, a Pillow image returned."""

import bentoml
from PIL.Image import Image

from benchmarks.baselines import load_generator, to_pillow


@bentoml.service()  # type: ignore[operator]  # mypy takes it for the submodule of that name
class Plain:
    """Images from seeds."""

    def __init__(self) -> None:
        self.generator = load_generator()

    @bentoml.api
    def generate(self, seed: int) -> Image:
        """The image of a seed."""
        images, _ = self.generator.generate([seed])
        return to_pillow(images[0])
