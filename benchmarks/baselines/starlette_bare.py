"""Bare Starlette route: always returns the PNG of seed 0, so that only HTTP is measured."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.baselines import load_generator, png

content = png(load_generator().generate([0])[0][0])


async def generate(request: Request) -> Response:
    """Return constant bytes."""
    return Response(content, media_type="image/png")


app = Starlette(routes=[Route("/generate", generate, methods=["POST"])])
