"""A straightforward FastAPI service: one call of the network a request, in FastAPI's own threads."""

from fastapi import FastAPI, Response
from pydantic import BaseModel

from benchmarks.baselines import load_generator, png

app = FastAPI()
generator = load_generator()


class Asked(BaseModel):
    """The body of a request."""

    seed: int


@app.post("/generate")
def generate(asked: Asked) -> Response:
    """The image of a seed."""
    images, _ = generator.draw([asked.seed])
    return Response(png(images[0]), media_type="image/png")
