"""What the service is held against: each as one writes it in an afternoon, on the same model file with as many threads.

All take the seed in a JSON body and answer with a PNG. uvloop and httptools are installed, so uvicorn takes them under
BentoML too; BentoML by itself does not bring them along, and is slower without them.
"""

import io
import os

from PIL import Image

from serving.inference.executor import Images
from serving.inference.generator import OnnxGenerator


def load_generator() -> OnnxGenerator:
    """The model that the environment names, as it does for Mint."""
    return OnnxGenerator.load(os.environ["MINT_MODEL"], "cpu", int(os.environ["MINT_THREADS"]))


def picture(image: Images) -> Image.Image:
    """One image uint8 [H, W, C] as Pillow has it."""
    return Image.fromarray(image.squeeze())


def png(image: Images) -> bytes:
    """One image uint8 [H, W, C] as a PNG file."""
    file = io.BytesIO()
    picture(image).save(file, "PNG")
    return file.getvalue()
