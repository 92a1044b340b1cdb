"""Model card and checksum in the metadata of an ONNX file, under the keys `mint` and `mint-checksum`.

The checksum is that of the file with zeros in place of the checksum's 64 digits, so that the file can hold it. It
detects damage, such as a flipped bit among the weights, which nothing else would detect; it does not prevent forgery.
"""

import hashlib
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.error_messages import invalid_fields
from serving.errors import ModelError
from serving.inference.image_shape import ImageResolution
from serving.inference.labels import ClassNames
from serving.inference.lineage import Ancestor

CARD_KEY = "mint"
CHECKSUM_KEY = "mint-checksum"
CHECKSUM_PLACEHOLDER = "sha256:" + "0" * 64  # until `embed_checksum`
FORMAT_VERSION: Literal[1] = 1

Number = Annotated[float, Field(allow_inf_nan=False)]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class ModelCard(BaseModel):
    """Description of a model: what a server needs to run it, and its provenance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    name: str
    latent_dim: int = Field(ge=1)
    prior: Literal["normal"] = "normal"
    resolution: ImageResolution
    channels: Literal[1, 3, 4]
    background: Colour = "#ffffff"  # behind transparent pixels, where a format has no alpha
    classes: tuple[str, ...]  # in label order; empty for a model without classes
    mean_latent: tuple[Number, ...]
    directions: tuple[tuple[Number, ...], ...] = ()  # principal directions of z, unit vectors, strongest first
    images_seen: int = Field(ge=0)  # in this run, without those of `lineage`
    data_sha256: str
    run: str | None = None  # fingerprint of the training run; None in cards written before it was recorded
    lineage: tuple[Ancestor, ...] = ()  # training states that this run was started from, nearest first
    git_revision: str | None  # None when trained outside a git checkout
    params: dict[str, Any]  # the params.yaml of the training run
    licence: str
    # Share of the model's images that are near-copies of training images; None: too few of those, or an older file.
    memorised: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _vectors_have_the_latent_size(self) -> "ModelCard":
        for name, vector in (("mean_latent", self.mean_latent), *(("a direction", one) for one in self.directions)):
            if len(vector) != self.latent_dim:
                raise ValueError(f"{name} has {len(vector)} numbers for latent_dim {self.latent_dim}")
        return self

    @cached_property
    def class_names(self) -> ClassNames:
        """The class names, indexed for look-ups of labels."""
        return ClassNames(self.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return *self.resolution, self.channels

    @property
    def shape(self) -> str:
        """The image shape and the number of classes, such as `28x28x1, 10 classes`."""
        classes = f"{len(self.classes)} classes" if self.classes else "no classes"
        return f"{'x'.join(map(str, self.image_shape))}, {classes}"


def read_card(metadata: dict[str, str], path: str) -> ModelCard:
    """Parse the card in an ONNX file's metadata; raises ModelError that names the invalid field."""
    if CARD_KEY not in metadata:
        raise ModelError(f"{path} carries no model card; export it with Mint (python -m training.export)")
    try:
        return ModelCard.model_validate_json(metadata[CARD_KEY])
    except ValidationError as error:
        invalid = invalid_fields(error)[0]
        raise ModelError(
            f"{path}: the model card's {invalid.key or 'card'} is wrong ({invalid.reason}); "
            "export the model again with this Mint"
        ) from None


def embed_checksum(content: bytes) -> bytes:
    """A model file with its checksum in place of CHECKSUM_PLACEHOLDER."""
    return content.replace(CHECKSUM_PLACEHOLDER.encode(), _checksum(content).encode(), 1)


def verify_checksum(content: bytes, metadata: dict[str, str], path: str) -> None:
    """Raise ModelError unless the checksum in the file matches its content."""
    checksum = metadata.get(CHECKSUM_KEY)
    if checksum is None:
        raise ModelError(f"{path} carries no checksum; export it again with this Mint (python -m training.export)")
    if _checksum(content.replace(checksum.encode(), CHECKSUM_PLACEHOLDER.encode(), 1)) != checksum:
        raise ModelError(f"{path} is damaged, as its checksum does not match; copy it again or export it again")


def _checksum(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
