"""Every error in one shape: a sentence for people, and where the request is wrong."""

from collections.abc import Sequence
from difflib import get_close_matches
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.errors import InputError, MintError, ProtocolError
from serving.http.auth import CHALLENGES, MissingKeyError, UnknownKeyError
from serving.http.parsing import BodyTooLargeError
from serving.http.schemas import ErrorResponse, Problem
from serving.http.state import app_state
from serving.inference.model_registry import ModelNotFoundError, NotReadyError
from serving.inference.request_queue import QueueFullError
from serving.quoting import visible

SHOWN_PATH = 60  # characters
LONGEST_SENTENCE = 1500  # characters; the longest of our own lists twenty classes
CLIENT_GONE = 499  # nobody reads this answer; nginx's number tells it from others in the figures


class ClientDisconnectedError(MintError):
    """The client has closed its connection while its images were being made."""


def error_response(error: MintError) -> Response:
    """The answer to a request that must not or cannot be met; raises what is the server's own fault."""
    sentence = str(error)
    match error:
        case InputError():
            return problem(400, sentence, error.loc)
        case MissingKeyError():
            answer = problem(401, sentence)
            for challenge in CHALLENGES:
                answer.headers.append("WWW-Authenticate", challenge)
            return answer
        case UnknownKeyError():
            return problem(403, sentence)
        case ModelNotFoundError():
            return problem(404, sentence, ("model",))
        case BodyTooLargeError():
            return problem(413, sentence)
        case ProtocolError():
            again = {"Retry-After": "1"} if error.status == HTTPStatus.SERVICE_UNAVAILABLE else None
            return problem(error.status, sentence, headers=again)
        case QueueFullError():
            return problem(429, sentence, headers={"Retry-After": str(error.retry_after_s)})
        case ClientDisconnectedError():
            return problem(CLIENT_GONE, sentence)
        case NotReadyError():
            return problem(503, sentence, headers={"Retry-After": "1"})
    raise error


def problem(
    status: int, sentence: str, loc: Sequence[str | int] = (), headers: dict[str, str] | None = None
) -> Response:
    """An error as JSON: one line of bounded length, whatever the request has brought into it."""
    sentence = visible(sentence[: LONGEST_SENTENCE + 1])
    if len(sentence) > LONGEST_SENTENCE:
        sentence = sentence[: LONGEST_SENTENCE - 3] + "..."
    detail = [Problem(loc=list(loc), msg=sentence)] if loc else []
    body = ErrorResponse(error=sentence, detail=detail).model_dump_json()
    return Response(body, status, headers, media_type="application/json")


async def on_mint_error(request: Request, error: Exception) -> Response:
    """What a route has raised for people."""
    assert isinstance(error, MintError)
    return error_response(error)


async def on_timeout(request: Request, error: Exception) -> Response:
    """504."""
    seconds = app_state(request).settings.timeout
    return problem(504, f"the answer was not ready within {seconds:g} s; ask for fewer images or try again later")


async def on_http_error(request: Request, error: Exception) -> Response:
    """404 and 405, as Starlette's router raises them."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == HTTPStatus.NOT_FOUND:
        paths = [route.path for route in request.app.routes]
        nearest = get_close_matches(path, paths, n=1) if len(path) <= SHOWN_PATH else None
        hint = f"did you mean {nearest[0]}?" if nearest else "see /docs for what there is"
        return problem(404, f"there is nothing at {path[:SHOWN_PATH]}; {hint}")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return problem(
            405, f"{path[:SHOWN_PATH]} does not answer {request.method[:20]}; use {headers['Allow']}", headers=headers
        )
    return problem(error.status_code, error.detail, headers=headers)


async def on_disconnect(request: Request, error: Exception) -> Response:
    """The client has left before its request was whole."""
    return problem(CLIENT_GONE, "the connection ended before the body did")


async def on_server_error(request: Request, error: Exception) -> Response:
    """The one answer that is Mint's fault; Starlette raises the error again, and the edge logs it."""
    return problem(500, "something went wrong in the server; its log says what")
