"""A bare Starlette route: it answers with the PNG of seed 0 whatever it is asked, so it is all HTTP and no work."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.baselines import load_generator, png

content = png(load_generator().draw([0])[0][0])


async def generate(request: Request) -> Response:
    """The same bytes for ever."""
    return Response(content, media_type="image/png")


app = Starlette(routes=[Route("/generate", generate, methods=["POST"])])
