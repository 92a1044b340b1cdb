"""Error responses: the one place that turns exceptions into HTTP responses, all of one shape."""

from collections.abc import Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.error_messages import did_you_mean, escaped
from serving.errors import ClientDisconnectedError, MintError
from serving.http.schemas import ErrorResponse, Problem

MAX_QUOTED_PATH = 60  # characters
MAX_SENTENCE = 1500  # characters; the longest of our own lists twenty classes


def error_response(error: MintError) -> Response:
    """Build the response to an error with an HTTP status; raises any other, which is the server's own fault."""
    if error.status is None:
        raise error
    return _json_response(error.status, str(error), error.loc, error.headers)


async def handle_mint_error(request: Request, error: Exception) -> Response:
    """Respond with the status and the sentence of a MintError."""
    assert isinstance(error, MintError)
    return error_response(error)


async def handle_timeout(request: Request, error: Exception) -> Response:
    """Respond 504 Gateway Timeout."""
    seconds = request.app.state.mint.settings.timeout
    return _json_response(
        504, f"the answer was not ready within {seconds:g} s; ask for fewer images or try again later"
    )


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Respond 404 Not Found or 405 Method Not Allowed, which Starlette's router raises."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    shown = path[:MAX_QUOTED_PATH]
    if error.status_code == HTTPStatus.NOT_FOUND:
        hint = "see /docs for what there is"
        if len(path) <= MAX_QUOTED_PATH:
            hint = did_you_mean(path, [route.path for route in request.app.routes], otherwise=hint)
        return _json_response(404, f"there is nothing at {shown}; {hint}")
    headers = dict(error.headers or {})
    sentence = error.detail
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        sentence = f"{shown} does not answer {request.method[:20]}; use {headers['Allow']}"
    return _json_response(error.status_code, sentence, headers=list(headers.items()))


async def handle_disconnect(request: Request, error: Exception) -> Response:
    """Record a client that disconnected before its request was complete."""
    return error_response(ClientDisconnectedError("the connection ended before the body did"))


async def handle_server_error(request: Request, error: Exception) -> Response:
    """Respond 500; Starlette raises the exception again, and RequestMiddleware logs it."""
    return _json_response(500, "something went wrong in the server; its log says what")


def _json_response(
    status: int, sentence: str, loc: Sequence[str | int] = (), headers: Sequence[tuple[str, str]] = ()
) -> Response:
    """Build the JSON of an error: one line of bounded length, whatever the request has put into it."""
    sentence = escaped(sentence[: MAX_SENTENCE + 1])
    if len(sentence) > MAX_SENTENCE:
        sentence = sentence[: MAX_SENTENCE - 3] + "..."
    detail = [Problem(loc=list(loc), msg=sentence)] if loc else []
    response = Response(
        ErrorResponse(error=sentence, detail=detail).model_dump_json(), status, media_type="application/json"
    )
    for name, value in headers:
        response.headers.append(name, value)
    return response


EXCEPTION_HANDLERS = {
    MintError: handle_mint_error,
    TimeoutError: handle_timeout,
    HTTPException: handle_http_exception,
    ClientDisconnect: handle_disconnect,
    Exception: handle_server_error,
}
