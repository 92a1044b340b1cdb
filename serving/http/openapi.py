"""OpenAPI document, generated from the pydantic models that validate the requests."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.http.schemas import (
    ANIMATION_MEDIA_TYPES,
    IMAGE_MEDIA_TYPES,
    MEDIA_TYPES,
    ErrorResponse,
    GenerateRequest,
    GenerateResponse,
    ImageQuery,
    InterpolateRequest,
    LatentsQuery,
    ModelQuery,
    ModelResponse,
    ModelsResponse,
    Query,
)
from serving.settings import Settings

API_VERSION = "1"
REF = "#/components/schemas/{model}"
BODIES: tuple[type[BaseModel], ...] = (
    GenerateRequest,
    InterpolateRequest,
    GenerateResponse,
    ModelResponse,
    ModelsResponse,
    ErrorResponse,
)

ERRORS = {
    400: "the request is invalid, or this model cannot do it",
    401: "a key is needed and the request has none",
    403: "the key is not known here",
    404: "there is no such model",
    408: "the request was not complete in time",
    413: "the body is larger than any request needs",
    414: "the address is too long",
    429: "too many images are waiting; `Retry-After` says in how many seconds to try again",
    431: "the headers are too long or too many",
    500: "a fault of the server",
    503: "the model is not loaded yet, or the server is about to stop",
    504: "the response was not ready in time",
}
PROTOCOL_ERRORS = (408, 414, 431)  # of any request, before it reaches its route
IMAGE_ERRORS = (400, 404, 429, 500, 503, 504)

Json = dict[str, Any]


def openapi_document(settings: Settings) -> Json:
    """Build the OpenAPI 3.1 document of every route, with the limits of these settings."""
    _, schemas = models_json_schema([(model, "validation") for model in BODIES], ref_template=REF)
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Mint",
            "version": API_VERSION,
            "description": "Images from seeds: one seed gives the same image for ever, of whichever class you choose.",
        },
        "paths": {
            "/generate": {"post": _generate(settings.max_images)},
            "/images/{seed}.{ext}": {"get": _image()},
            "/interpolate": {"post": _interpolate(settings.max_images)},
            "/model": {"get": _model()},
            "/models": {"get": _get("Every model file, with its problem if it has one", _json(ModelsResponse), 500)},
            "/": {"get": _get("The explorer page", _text("text/html"))},
            "/ui/{name}": {"get": _asset()},
            "/docs": {"get": _get("This document as a page", _text("text/html"))},
            "/openapi.json": {"get": _get("This document", {"application/json": {"schema": {"type": "object"}}})},
            "/livez": {"get": _get("Liveness probe", _text("text/plain")) | {"security": []}},
            "/readyz": {"get": _get("Readiness probe", _text("text/plain"), 503) | {"security": []}},
            "/metrics": {"get": _get("Prometheus metrics", _text("text/plain"), 500)},
        },
        "components": {"schemas": schemas["$defs"]},
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["responses"] |= _errors(*PROTOCOL_ERRORS)
    if settings.api_keys:
        _require_keys(document)
    return document


def _require_keys(document: Json) -> None:
    """Add the security schemes, and 401 and 403 to every operation that needs a key."""
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "basic": {"type": "http", "scheme": "basic", "description": "the key as password, for browsers"},
    }
    document["security"] = [{"bearer": []}, {"basic": []}]
    for methods in document["paths"].values():
        for operation in methods.values():
            if "security" not in operation:
                operation["responses"] |= _errors(401, 403)


def _generate(max_images: int) -> Json:
    images: Json = {media_type: {} for media_type in MEDIA_TYPES.values()} | _json(GenerateResponse)
    npy = {MEDIA_TYPES["npy"]: {"schema": {"type": "string", "format": "binary"}}}
    headers = _headers() | {"X-Mint-Seeds": _header("the seeds, written as X-Mint-Labels; absent for latents")}
    return {
        "summary": "Images from seeds, from latents or at random",
        "description": (
            f"At most {max_images} images. Several images come as a contact sheet in png, jpeg and webp. "
            "The Accept header chooses the format where the request does not. "
            "Latents may be sent as the bytes of a .npy file, float32 [N, latent_dim]; only those take the parameters."
        ),
        "parameters": _parameters(LatentsQuery),
        "requestBody": {"required": True, "content": _json(GenerateRequest) | npy},
        "responses": {"200": _ok("the images", images, headers), **_errors(413, *IMAGE_ERRORS)},
    }


def _image() -> Json:
    headers = _headers() | {
        "ETag": _header("weak: identifies the image, whose pixels may differ by 1/255 between servers"),
        "Cache-Control": _header("immutable if the URL holds the model's id"),
    }
    path = [
        _parameter("seed", "path", {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}, "the seed"),
        _parameter("ext", "path", {"enum": list(IMAGE_MEDIA_TYPES)}, "the format"),
    ]
    return {
        "summary": "One image by its URL",
        "parameters": [
            *path,
            *_parameters(ImageQuery),
            _parameter("If-None-Match", "header", {"type": "string"}, "the ETag of a cached image", required=False),
        ],
        "responses": {
            "200": _ok("the image", {media_type: {} for media_type in IMAGE_MEDIA_TYPES.values()}, headers),
            "304": {"description": "the cached image is still valid", "headers": headers},
            **_errors(*IMAGE_ERRORS),
        },
    }


def _interpolate(max_images: int) -> Json:
    animations: Json = {media_type: {} for media_type in ANIMATION_MEDIA_TYPES.values()}
    return {
        "summary": "An animation through keyframes",
        "description": f"At most {max_images} frames. In png they form one row.",
        "requestBody": {"required": True, "content": _json(InterpolateRequest)},
        "responses": {"200": _ok("the animation", animations, _headers()), **_errors(413, *IMAGE_ERRORS)},
    }


def _model() -> Json:
    operation = _get("A model's card, measurements and provider", _json(ModelResponse), 400, 404, 500, 503)
    return operation | {"parameters": _parameters(ModelQuery)}


def _asset() -> Json:
    operation = _get("A file of the explorer page", {"*/*": {}}, 404)
    return operation | {"parameters": [_parameter("name", "path", {"type": "string"}, "the file's name")]}


def _get(summary: str, content: Json, *errors: int) -> Json:
    return {"summary": summary, "responses": {"200": _ok("OK", content), **_errors(*errors)}}


def _ok(description: str, content: Json, headers: Json | None = None) -> Json:
    return {"description": description, "content": content} | ({"headers": headers} if headers else {})


def _errors(*statuses: int) -> Json:
    return {str(status): {"description": ERRORS[status], "content": _json(ErrorResponse)} for status in statuses}


def _json(model: type[BaseModel]) -> Json:
    return {"application/json": {"schema": {"$ref": REF.format(model=model.__name__)}}}


def _text(media_type: str) -> Json:
    return {media_type: {"schema": {"type": "string"}}}


def _headers() -> Json:
    return {
        "X-Mint-Model": _header("the model's id"),
        "X-Mint-Labels": _header(
            "the label of each image, separated by commas; in a long list ranges such as 0-299, and `omitted` for one "
            "that is longer still; absent without classes"
        ),
    }


def _header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


def _parameters(query: type[Query]) -> list[Json]:
    """Describe the parameters of a query string, from the model that validates them."""
    properties = query.model_json_schema()["properties"]
    return [
        _parameter(
            name,
            "query",
            {key: value for key, value in schema.items() if key not in ("description", "title")},
            schema["description"],
            required=False,
        )
        for name, schema in properties.items()
    ]


def _parameter(name: str, place: str, schema: Json, description: str, required: bool = True) -> Json:
    return {"name": name, "in": place, "required": required, "description": description, "schema": schema}
