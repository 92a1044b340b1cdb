"""Requests and responses as pydantic models, and what is wrong with a request in words."""

import json
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from serving.card import ModelCard
from serving.errors import InputError
from serving.latents import MAX_SEED

Format = Literal["png", "jpeg", "webp", "json", "zip", "npy"]
FORMATS: tuple[Format, ...] = get_args(Format)
MEDIA_TYPES: dict[Format, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "json": "application/json",
    "zip": "application/zip",
    "npy": "application/x-npy",
}

EXAMPLE = '{"seeds": [7]}'
SOURCES = ("seeds", "count", "latents")

Seed = Annotated[StrictInt, Field(ge=0, le=MAX_SEED)]
Number = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Row = Annotated[list[Number], Field(min_length=1, fail_fast=True)]
Label = StrictInt | StrictStr


class GenerateRequest(BaseModel):
    """The body of POST /generate: exactly one of seeds, count and latents, and how to draw them."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "oneOf": [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in SOURCES],
            "examples": [{"seeds": [7]}],
        },
    )

    # The descriptions are what error messages say that a field is.
    seeds: Annotated[list[Seed], Field(min_length=1, fail_fast=True)] | None = Field(
        default=None, description=f"a list of whole numbers from 0 to {MAX_SEED}, one for each image"
    )
    count: Annotated[StrictInt, Field(ge=1)] | None = Field(
        default=None, description="the number of images to draw from random seeds, at least 1"
    )
    latents: Annotated[list[Row], Field(min_length=1, fail_fast=True)] | None = Field(
        default=None,
        description="a list of rows of finite numbers, one row for each image and as long as the model's latent_dim",
    )
    labels: Label | Annotated[list[Label], Field(min_length=1, fail_fast=True)] | None = Field(
        default=None,
        description="a class name or index for all images, or a list with one for each; without it seeds draw theirs",
    )
    truncation: Annotated[StrictFloat, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=1.0, description="a number from 0 (the average image) to 1 (the full variety)"
    )
    format: Format | None = Field(
        default=None, description=f"one of {', '.join(FORMATS)}; without it the Accept header decides, and then png"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"give exactly one of seeds, count and latents; this body has {found}")
        return self

    @property
    def source(self) -> str:
        """The field that says which images: one of SOURCES."""
        return next(name for name in SOURCES if getattr(self, name) is not None)

    @property
    def size(self) -> int:
        """How many images are asked for."""
        if self.count is not None:
            return self.count
        return len(self.seeds or self.latents or ())

    @property
    def label_list(self) -> list[int | str] | None:
        """The labels as a list of one or more, or None."""
        return [self.labels] if isinstance(self.labels, int | str) else self.labels

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Reads a JSON body; raises InputError with one sentence about the first thing that is wrong."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise _explained(error) from None


class GeneratedImage(BaseModel):
    """One image of a JSON answer."""

    seed: int | None = Field(description="null for an image made from latents")
    label: int | None = Field(description="index of the class; null for a model without classes")
    class_name: str | None = Field(description="name of the class; null for a model without classes")
    png: str = Field(description="the image as PNG, in base64")


class GenerateResponse(BaseModel):
    """The answer to POST /generate in the format json."""

    model_id: str
    images: list[GeneratedImage]


class ModelResponse(BaseModel):
    """The answer to GET /model."""

    model_id: str = Field(description="the first 16 hexadecimal digits of sha256")
    sha256: str = Field(description="of the model file")
    provider: Literal["cpu", "cuda"] = Field(description="what the model runs on")
    card: ModelCard
    metrics: dict[str, Any] | None = Field(description="how this very file was measured, where that is known")


class Problem(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int] = Field(description="the field, and positions in it")
    msg: str


class ErrorResponse(BaseModel):
    """Every error: a sentence for people, and where the request is wrong."""

    error: str
    detail: list[Problem]


def _explained(error: ValidationError) -> InputError:
    """The first problem that pydantic found, in a sentence that says what to change."""
    problems = error.errors(include_url=False)
    kind, loc, message = problems[0]["type"], problems[0]["loc"], problems[0]["msg"]
    if kind == "json_invalid":
        said = message.removeprefix("Invalid JSON: ")
        return InputError(f"the body is not JSON ({said}); send an object such as {EXAMPLE}")
    if kind == "value_error":
        return InputError(message.removeprefix("Value error, "))
    if not loc:
        return InputError(f"the body must be a JSON object such as {EXAMPLE}")
    field = str(loc[0])
    if kind == "extra_forbidden":
        nearest = get_close_matches(field, GenerateRequest.model_fields, n=1, cutoff=0.5)
        hint = (
            f'did you mean "{nearest[0]}"?' if nearest else f"the fields are {', '.join(GenerateRequest.model_fields)}"
        )
        return InputError(f"{_shown(field)} is not a field of this request; {hint}", field[:40])
    problem = max((problem for problem in problems if problem["loc"][0] == field), key=lambda one: len(_positions(one)))
    where = field + "".join(f"[{position}]" for position in _positions(problem))
    rule = GenerateRequest.model_fields[field].description
    shown = _shown(problem["input"])
    return InputError(f"{where} = {shown} does not work; {field} is {rule}", field, *_positions(problem))


def _positions(problem: ErrorDetails) -> list[int]:
    """Where in a list; between the field and the positions pydantic names the members of a union."""
    return [part for part in problem["loc"][1:] if isinstance(part, int)]


def _shown(value: object) -> str:
    """The start of a value as JSON, short enough for a sentence."""
    try:
        text = json.dumps(value)
    except ValueError:  # a whole number of thousands of digits
        return "a huge number"
    return text if len(text) <= 40 else text[:37] + "..."
