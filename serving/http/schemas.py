"""Wire format of the API: requests and responses as pydantic models, media types, lists of numbers in headers."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from serving.encoding.images import IMAGE_FORMATS
from serving.http.validation import to_input_error
from serving.inference.latents import MAX_IMAGES, MAX_SEED, Curve
from serving.inference.model_card import ModelCard

OutputFormat = Literal["png", "jpeg", "webp", "json", "zip", "npy"]
AnimationFormat = Literal["gif", "webp", "npy", "png"]
MEDIA_TYPES: dict[OutputFormat, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "json": "application/json",
    "zip": "application/zip",
    "npy": "application/x-npy",
}
ANIMATION_MEDIA_TYPES: dict[AnimationFormat, str] = {
    "gif": "image/gif",
    "webp": "image/webp",
    "npy": "application/x-npy",
    "png": "image/png",
}
IMAGE_MEDIA_TYPES = {name: MEDIA_TYPES[name] for name in IMAGE_FORMATS}

MAX_SIZE = 2048  # pixels of the longer side: a square has up to 16 MB in memory
MAX_NAME_LENGTH = 1000  # characters of a class or a model
MAX_NUMBERS_LENGTH = 1600  # characters of a list in a header: two lists and all other headers fit 4 KB
OMITTED = "omitted"
BOM = b"\xef\xbb\xbf"  # byte order mark, which some editors write before UTF-8


def _float_to_int(value: object) -> object:
    """Convert 7.0 to 7: some languages write every number in JSON with a decimal point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _normalise_format(value: object) -> object:
    """Accept a format as people write it, such as JPG."""
    if not isinstance(value, str):
        return value
    return "jpeg" if value.lower() == "jpg" else value.lower()


Integer = Annotated[StrictInt, BeforeValidator(_float_to_int)]
Name = Annotated[StrictStr, Field(max_length=MAX_NAME_LENGTH)]
Seed = Annotated[Integer, Field(ge=0, le=MAX_SEED)]
Number = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Row = Annotated[list[Number], Field(min_length=1, fail_fast=True)]
Label = Integer | Name
Labels = Label | Annotated[list[Label], Field(min_length=1, max_length=MAX_IMAGES, fail_fast=True)]

# Error messages contain these descriptions: "seeds[0] = -1 does not work; seeds is a list of ...".
SEEDS_DESCRIPTION = f"whole numbers from 0 to {MAX_SEED}"
LATENTS_DESCRIPTION = "a list of rows of finite numbers, one row for each image and as long as the model's latent_dim"
TRUNCATION_DESCRIPTION = "a number from 0 (the average image) to 1 (the full variety)"
MODEL_DESCRIPTION = "the name or the id of a model of GET /models; without it the default one"
SIZE_DESCRIPTION = (
    f"the longer side in pixels, from 1 to {MAX_SIZE}; a multiple of the model's own repeats pixels, any other size is "
    "resampled"
)

Truncation = Annotated[StrictFloat, Field(ge=0, le=1, allow_inf_nan=False, description=TRUNCATION_DESCRIPTION)]
ModelName = Annotated[Name | None, Field(description=MODEL_DESCRIPTION)]
FormatName = Annotated[OutputFormat, BeforeValidator(_normalise_format)]
AnimationName = Annotated[AnimationFormat, BeforeValidator(_normalise_format)]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]


class _Body(BaseModel):
    """JSON body with exactly one of several fields that choose the images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: ClassVar[tuple[str, ...]]  # the fields of which a body has exactly one

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in self.sources if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"give exactly one of {_join(self.sources)}; this body has {found}")
        return self

    @property
    def source(self) -> str:
        """The field that chooses the images."""
        return next(name for name in self.sources if getattr(self, name) is not None)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Parse a JSON body; raises InputError with one sentence about its first mistake."""
        try:
            return cls.model_validate_json(body.removeprefix(BOM))
        except ValidationError as error:
            raise to_input_error(error, cls, body=body) from None


def _one_of(*names: str) -> dict[str, Any]:
    """Build the JSON Schema of exactly one of these fields."""
    return {"oneOf": [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in names]}


class GenerateRequest(_Body):
    """Body of POST /generate: exactly one of seeds, count and latents, and options."""

    sources = ("seeds", "count", "latents")
    model_config = ConfigDict(
        json_schema_extra=_one_of(*sources) | {"examples": [{"seeds": [7]}]},
    )

    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MAX_IMAGES, fail_fast=True)] | None = Field(
        default=None, description=f"a list of {SEEDS_DESCRIPTION}, one for each image"
    )
    count: Annotated[Integer, Field(ge=1)] | None = Field(
        default=None, description="the number of images to generate from random seeds, at least 1"
    )
    latents: Annotated[list[Row], Field(min_length=1, max_length=MAX_IMAGES, fail_fast=True)] | None = Field(
        default=None, description=LATENTS_DESCRIPTION
    )
    labels: Labels | None = Field(
        default=None,
        description="a class name or index for all images, or a list with one for each; without it seeds choose theirs",
    )
    truncation: Truncation = 1.0
    format: FormatName | None = Field(
        default=None, description=f"one of {', '.join(MEDIA_TYPES)}; without it the Accept header decides, and then png"
    )
    model: ModelName = None

    @property
    def size(self) -> int:
        """Number of requested images."""
        if self.count is not None:
            return self.count
        return len(self.seeds or self.latents or ())


class InterpolateRequest(_Body):
    """Body of POST /interpolate: keyframes, as seeds or latents, and the path between them."""

    sources = ("seeds", "latents")
    model_config = ConfigDict(
        json_schema_extra=_one_of(*sources)
        | {"additionalProperties": False}
        | {"examples": [{"seeds": [7, 8], "loop": True}]},
    )

    seeds: Annotated[list[Seed], Field(min_length=2, max_length=MAX_IMAGES, fail_fast=True)] | None = Field(
        default=None, description=f"a list of {SEEDS_DESCRIPTION}, two or more, one for each keyframe"
    )
    latents: Annotated[list[Row], Field(min_length=2, max_length=MAX_IMAGES, fail_fast=True)] | None = Field(
        default=None,
        description="a list of rows of finite numbers, two or more, one row for each keyframe, as long as latent_dim",
    )
    labels: Labels | None = Field(
        default=None,
        description="a class name or index for all keyframes, or a list with one for each; frames take the nearest",
    )
    steps: Annotated[Integer, Field(ge=1)] = Field(
        default=16, description="the number of frames from one keyframe to the next, at least 1"
    )
    path: Curve = Field(default="slerp", description="slerp (along the Gaussian's shell) or lerp (straight)")
    loop: StrictBool = Field(
        default=False, description="true or false: whether the path leads back to the first keyframe"
    )
    truncation: Truncation = 1.0
    size: Annotated[Integer, Field(ge=1, le=MAX_SIZE)] | None = Field(default=None, description=SIZE_DESCRIPTION)
    fps: Annotated[StrictFloat, Field(ge=1, le=50, allow_inf_nan=False)] = Field(
        default=12.0, description="the number of frames a second, from 1 to 50"
    )
    format: AnimationName | None = Field(
        default=None,
        description=f"one of {', '.join(ANIMATION_MEDIA_TYPES)}; without it the Accept header decides, and then gif",
    )
    model: ModelName = None

    @property
    def frames(self) -> int:
        """Number of images of the animation."""
        keyframes = len(self.seeds or self.latents or ())
        return self.steps * keyframes if self.loop else self.steps * (keyframes - 1) + 1


class Query(BaseModel):
    """Query string of a URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LatentsQuery(Query):
    """Options of POST /generate with a .npy body."""

    labels: Annotated[list[Name], Field(max_length=MAX_IMAGES)] | None = Field(
        default=None, description="a class name or index for all images, or labels=... once for each image"
    )
    truncation: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=1.0, description=TRUNCATION_DESCRIPTION
    )
    format: FormatName | None = Field(default=None, description=GenerateRequest.model_fields["format"].description)
    model: ModelName = None


class ImageQuery(Query):
    """Options of GET /images/{seed}.{ext}."""

    label: Name | None = Field(default=None, description="a class name or index; without it the seed chooses")
    truncation: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=1.0, description=TRUNCATION_DESCRIPTION
    )
    size: Size | None = Field(default=None, description=SIZE_DESCRIPTION)
    model: ModelName = None


class ModelQuery(Query):
    """Options of GET /model."""

    model: ModelName = None


class GeneratedImage(BaseModel):
    """One image of a JSON response."""

    seed: int | None = Field(description="null for an image made from latents")
    label: int | None = Field(description="index of the class; null for a model without classes")
    class_name: str | None = Field(description="name of the class; null for a model without classes")
    latent: list[float] = Field(description="before truncation; sent back it makes the same image")
    png: str = Field(description="the image as PNG, in base64")


class GenerateResponse(BaseModel):
    """Response to POST /generate in the format json."""

    model_id: str
    images: list[GeneratedImage]


class Limits(BaseModel):
    """Bounds of one request."""

    max_images: int = Field(description="images, or frames of an animation")
    max_size: int = Field(default=MAX_SIZE, description="pixels of the longer side")


class ModelResponse(BaseModel):
    """Response to GET /model."""

    name: str = Field(description="its name in requests")
    model_id: str = Field(description="the first 16 hexadecimal digits of sha256")
    sha256: str = Field(description="of the model file")
    provider: Literal["cpu", "cuda"] = Field(description="what the model runs on")
    card: ModelCard
    metrics: dict[str, Any] | None = Field(description="measurements of this very file, if there are any")
    limits: Limits


class ListedModel(BaseModel):
    """Model file in the list of GET /models."""

    name: str
    default: bool = Field(description="whether it serves requests that name no model")
    model_id: str | None = Field(description="null for a file that cannot be served")
    provider: Literal["cpu", "cuda"] | None
    card: ModelCard | None
    problem: str | None = Field(description="why the file that is there now is not the one that is served")


class ModelsResponse(BaseModel):
    """Response to GET /models."""

    models: list[ListedModel]


class Problem(BaseModel):
    """A mistake in a request."""

    loc: list[str | int] = Field(description="the field, and positions in it")
    msg: str


class ErrorResponse(BaseModel):
    """Body of every error: a sentence for people, and the place in the request."""

    error: str
    detail: list[Problem]


def numbers_to_header(numbers: Sequence[int]) -> str:
    """Write seeds or labels as a header value that every proxy accepts.

    Proxies and clients accept 4 to 8 KB of headers in all. A short list is written as it is, a longer one with ranges
    such as 0-299; one that is too long even so is omitted.
    """
    text = ",".join(map(str, numbers))
    if len(text) > MAX_NUMBERS_LENGTH:
        text = ",".join(_ranges(numbers))
    return text if len(text) <= MAX_NUMBERS_LENGTH else OMITTED


def numbers_from_header(text: str) -> tuple[int, ...] | None:
    """Read the numbers of such a header value, None where they were omitted; raises ValueError for any other text."""
    if text == OMITTED:
        return None
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers += range(int(first), int(last) + 1) if dash else [int(first)]
    return tuple(numbers)


def _ranges(numbers: Sequence[int]) -> list[str]:
    """Write runs of three or more consecutive numbers as `first-last`, the others one by one."""
    parts: list[str] = []
    start = 0
    for end in range(1, len(numbers) + 1):
        if end < len(numbers) and numbers[end] == numbers[end - 1] + 1:
            continue
        run = numbers[start:end]
        parts += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else map(str, run)
        start = end
    return parts


def _join(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1]
