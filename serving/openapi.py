"""The OpenAPI document, made from the pydantic models that check the requests."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.schemas import MEDIA_TYPES, ErrorResponse, GenerateRequest, GenerateResponse, ModelResponse

API_VERSION = "1"
REF = "#/components/schemas/{model}"

ERRORS = {
    400: "the request cannot be understood, or this model cannot do what it asks",
    413: "the body is larger than the largest request there can be",
    429: "too many images are waiting; `Retry-After` says in how many seconds to try again",
    500: "a fault of the server",
    503: "the model is not loaded yet",
    504: "the images were not ready in time",
}


def openapi_document(max_images: int) -> dict[str, Any]:
    """OpenAPI 3.1 of every route; max_images: the limit of one request."""
    models: list[type[BaseModel]] = [GenerateRequest, GenerateResponse, ModelResponse, ErrorResponse]
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mint",
            "version": API_VERSION,
            "description": "Images from seeds: one seed gives the same image for ever, of whichever class you ask for.",
        },
        "paths": {
            "/generate": {"post": _generate(max_images)},
            "/model": {
                "get": _get("The model card, its measurements and what it runs on", _json(ModelResponse), 500, 503)
            },
            "/livez": {"get": _get("Whether the process answers", _text("text/plain"))},
            "/readyz": {"get": _get("Whether the model is loaded and has run", _text("text/plain"), 503)},
            "/metrics": {"get": _get("Figures for Prometheus", _text("text/plain"), 500)},
            "/openapi.json": {"get": _get("This document", {"application/json": {"schema": {"type": "object"}}})},
            "/docs": {"get": _get("This document as a page", _text("text/html"))},
        },
        "components": {"schemas": schemas["$defs"]},
    }


def _generate(max_images: int) -> dict[str, Any]:
    images: dict[str, Any] = {media_type: {} for media_type in MEDIA_TYPES.values()}
    images |= _json(GenerateResponse)
    return {
        "summary": "Images from seeds, from latents or at random",
        "description": (
            f"At most {max_images} images. Several images come as a contact sheet in png, jpeg and webp. "
            "The Accept header chooses the format where the body does not."
        ),
        "requestBody": {"required": True, "content": _json(GenerateRequest)},
        "responses": {
            "200": {
                "description": "the images",
                "headers": {
                    "X-Mint-Model": _header("the model's id"),
                    "X-Mint-Seeds": _header("the seeds, with commas between them; absent for latents"),
                    "X-Mint-Labels": _header("the label of each image, with commas; absent without classes"),
                },
                "content": images,
            },
            **_errors(*ERRORS),
        },
    }


def _get(summary: str, content: dict[str, Any], *errors: int) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "OK", "content": content}, **_errors(*errors)}}


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): {"description": ERRORS[status], "content": _json(ErrorResponse)} for status in statuses}


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REF.format(model=model.__name__)}}}


def _text(media_type: str) -> dict[str, Any]:
    return {media_type: {"schema": {"type": "string"}}}


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}
