"""CORS: pages of the configured origins may call the service."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from serving.errors import MintError
from serving.http.exception_handlers import error_response

MAX_REQUESTED_HEADERS = 1000  # characters; the names that are allowed have sixty
EXPOSED_HEADERS = ["ETag", "Retry-After", "X-Mint-Labels", "X-Mint-Model", "X-Mint-Seeds", "X-Request-ID"]


class CrossOriginError(MintError):
    """A preflight request that is refused."""

    status = 400

    def __init__(self, sentence: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(sentence)
        self.headers = headers


class CrossOriginMiddleware(CORSMiddleware):
    """Starlette's CORS middleware, with refusals in the shape of every other error."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """origins: as browsers write them, such as https://shop.example; `*` allows every page."""
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "X-Request-ID"],
            expose_headers=EXPOSED_HEADERS,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Respond to the OPTIONS request that a browser sends before a page's own."""
        if len(request_headers.get("access-control-request-headers", "")) > MAX_REQUESTED_HEADERS:
            return error_response(
                CrossOriginError(
                    f"Access-Control-Request-Headers has more than {MAX_REQUESTED_HEADERS} characters; ask for fewer"
                )
            )
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        refused = bytes(response.body).decode().removeprefix("Disallowed CORS ")
        sentence = (
            f"a page of {request_headers['origin'][:100]} may not send this request, because of its {refused}; "
            "MINT_CORS_ORIGINS lists the origins that may"
        )
        cors_headers = [(name, value) for name, value in response.headers.items() if not name.startswith("content-")]
        return error_response(CrossOriginError(sentence, cors_headers))
