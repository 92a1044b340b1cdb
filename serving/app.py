"""The ASGI app: routes, exception handlers and middleware."""

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from serving.http.cors import CrossOriginMiddleware
from serving.http.exception_handlers import EXCEPTION_HANDLERS
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


def create_app(state: AppState) -> ASGIApp:
    """Build the app: the routes, wrapped in API key and CORS middleware if configured, then in RequestMiddleware."""
    settings = state.settings
    router = Starlette(routes=ROUTES, lifespan=lambda _: lifespan(state), exception_handlers=EXCEPTION_HANDLERS)
    router.router.redirect_slashes = False
    router.state.mint = state
    app: ASGIApp = router
    if settings.api_keys:
        app = AuthMiddleware(app, [key_hash.get_secret_value() for key_hash in settings.api_keys])
    if settings.cors_origins:
        app = CrossOriginMiddleware(app, settings.cors_origins)  # outside of AuthMiddleware: preflights carry no key
    return RequestMiddleware(app, state)
