"""The HTTP surface: a Starlette app behind its edge, which answers every path, and every error in one shape."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.backend import Backend
from serving.cors import CrossOrigin
from serving.edge import AuthMiddleware, Edge
from serving.errors import MintError
from serving.lifespan import lifespan
from serving.routes import about, answers, page, pictures

# The busiest first: the router tries them in this order.
ROUTES = [
    Route("/images/{seed}.{ext}", pictures.image),
    Route("/generate", pictures.generate, methods=["POST"]),
    Route("/interpolate", pictures.interpolate, methods=["POST"]),
    Route("/", page.index),
    Route("/ui/{name}", page.asset),
    Route("/model", about.model),
    Route("/models", about.models),
    Route("/docs", about.docs),
    Route("/openapi.json", about.openapi),
    Route("/livez", about.livez),
    Route("/readyz", about.readyz),
    Route("/metrics", about.metrics),
]


class App:
    """The whole ASGI app: the edge, the rules for other origins and the keys where there are any, the routes."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        inner = Starlette(
            routes=ROUTES,
            lifespan=lambda _: lifespan(self),
            exception_handlers={
                MintError: answers.on_mint_error,
                TimeoutError: answers.on_timeout,
                HTTPException: answers.on_http_error,
                ClientDisconnect: answers.on_disconnect,
                Exception: answers.on_bug,
            },
        )
        inner.router.redirect_slashes = False
        inner.state.backend = backend
        settings = backend.settings
        app: ASGIApp = inner
        if settings.api_keys:
            app = AuthMiddleware(app, [each.get_secret_value() for each in settings.api_keys], answers.refusal)
        if settings.cors_origins:
            app = CrossOrigin(app, settings.cors_origins)  # asked before a key is: browsers ask without one
        self.edge = Edge(app, settings.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self.edge(scope, receive, send)

    def drain(self) -> None:
        """From now on every answer asks its client to leave, and /readyz says that there is nothing here."""
        self.backend.draining = True
        self.edge.draining = True
