"""The HTTP surface: a Starlette app behind its edge, which answers every path, and every error in one shape."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import MintError
from serving.http import exception_handlers
from serving.http.cors import CrossOriginMiddleware
from serving.http.lifespan import lifespan
from serving.http.middleware import AuthMiddleware, RequestMiddleware
from serving.http.routes import generate, images, info, interpolate, static
from serving.http.state import AppState

# The busiest first: the router tries them in this order.
ROUTES = [
    Route("/images/{seed}.{ext}", images.image),
    Route("/generate", generate.generate, methods=["POST"]),
    Route("/interpolate", interpolate.interpolate, methods=["POST"]),
    Route("/", static.index),
    Route("/ui/{name}", static.asset),
    Route("/model", info.model),
    Route("/models", info.models),
    Route("/docs", info.docs),
    Route("/openapi.json", info.openapi),
    Route("/livez", info.livez),
    Route("/readyz", info.readyz),
    Route("/metrics", info.metrics),
]


class App:
    """The whole ASGI app: the edge, the rules for other origins and the keys where there are any, the routes."""

    def __init__(self, state: AppState) -> None:
        self.state = state
        inner = Starlette(
            routes=ROUTES,
            lifespan=lambda _: lifespan(self),
            exception_handlers={
                MintError: exception_handlers.on_mint_error,
                TimeoutError: exception_handlers.on_timeout,
                HTTPException: exception_handlers.on_http_error,
                ClientDisconnect: exception_handlers.on_disconnect,
                Exception: exception_handlers.on_server_error,
            },
        )
        inner.router.redirect_slashes = False
        inner.state.mint = state
        settings = state.settings
        app: ASGIApp = inner
        if settings.api_keys:
            app = AuthMiddleware(
                app, [each.get_secret_value() for each in settings.api_keys], exception_handlers.error_response
            )
        if settings.cors_origins:
            app = CrossOriginMiddleware(app, settings.cors_origins)  # asked before a key is: browsers ask without one
        self.edge = RequestMiddleware(app, settings.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self.edge(scope, receive, send)

    def drain(self) -> None:
        """From now on every answer asks its client to leave, and /readyz says that there is nothing here."""
        self.state.draining = True
        self.edge.draining = True
