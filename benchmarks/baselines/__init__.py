"""Baseline servers: straightforward ways to serve the same model file with the same number of threads.

All take the seed in a JSON body and return a PNG. uvloop and httptools are installed here, so uvicorn uses them under
BentoML too; BentoML does not depend on them, and is slower without them.
"""

import io
import os

from PIL import Image

from serving.inference.generator import OnnxGenerator
from serving.inference.latents import Images


def load_generator() -> OnnxGenerator:
    """Load the model that the environment names, as Mint does."""
    return OnnxGenerator.load(os.environ["MINT_MODEL"], "cpu", int(os.environ["MINT_THREADS"]))


def to_pillow(image: Images) -> Image.Image:
    """Convert an image uint8 [H, W, C] to a Pillow image."""
    return Image.fromarray(image.squeeze())


def png(image: Images) -> bytes:
    """Encode an image uint8 [H, W, C] as PNG."""
    file = io.BytesIO()
    to_pillow(image).save(file, "PNG")
    return file.getvalue()
