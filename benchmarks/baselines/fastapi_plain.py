"""Plain FastAPI service: one session run a request, in FastAPI's thread pool."""

from fastapi import FastAPI, Response
from pydantic import BaseModel

from benchmarks.baselines import load_generator, png

app = FastAPI()
generator = load_generator()


class GenerateBody(BaseModel):
    """Request body."""

    seed: int


@app.post("/generate")
def generate(body: GenerateBody) -> Response:
    """The image of a seed."""
    images, _ = generator.generate([body.seed])
    return Response(png(images[0]), media_type="image/png")
