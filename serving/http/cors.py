"""Cross-origin requests: which pages of other origins may call the service."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from serving.http.exception_handlers import problem

LONGEST_LIST = 1000  # characters; what may be asked for has sixty
READABLE = ["ETag", "Retry-After", "X-Mint-Labels", "X-Mint-Model", "X-Mint-Seeds", "X-Request-ID"]


class CrossOriginMiddleware(CORSMiddleware):
    """Starlette's rules for other origins, with refusals in the shape of every other error."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """origins: as browsers write them, such as https://shop.example; `*` for every page there is."""
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "X-Request-ID"],
            expose_headers=READABLE,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser that asks before it sends a page's request."""
        if len(request_headers.get("access-control-request-headers", "")) > LONGEST_LIST:
            return problem(
                400, f"Access-Control-Request-Headers has more than {LONGEST_LIST} characters; ask for fewer"
            )
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return answer
        refused = bytes(answer.body).decode().removeprefix("Disallowed CORS ")
        sentence = (
            f"a page of {request_headers['origin'][:100]} may not send this request, because of its {refused}; "
            "MINT_CORS_ORIGINS lists the origins that may"
        )
        kept = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        return problem(400, sentence, headers=kept)
