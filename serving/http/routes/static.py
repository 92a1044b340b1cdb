"""Static files of the explorer page, read once at start."""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parents[2] / "ui"
INDEX = "index.html"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    etag: str


def _load(path: Path) -> _File:
    content = path.read_bytes()
    media_type = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0] or "text/plain"
    return _File(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


FILES = {path.name: _load(path) for path in FOLDER.iterdir() if path.is_file()}


async def index(request: Request) -> Response:
    """GET /: the explorer page."""
    return _file_response(request, INDEX)


async def asset(request: Request) -> Response:
    """GET /ui/{name}: a file of the page; only names in FILES exist, so no path leads out of the folder."""
    return _file_response(request, request.path_params["name"])


def _file_response(request: Request, name: str) -> Response:
    file = FILES.get(name)
    if file is None:
        raise HTTPException(404)
    headers = {"ETag": file.etag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
