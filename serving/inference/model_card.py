"""The model card: what an ONNX file says about itself, kept in its metadata under the key `mint`.

Beside it, under `mint-checksum`, stands the checksum of the file: taken while the 64 digits of the checksum itself
are zeros, so that one file carries all of it. It finds damage, which a flipped bit among weights otherwise
would not show; against forgery it is no help.
"""

import hashlib
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.errors import ModelError
from serving.inference.labels import ClassNames

CARD_KEY = "mint"
CHECKSUM_KEY = "mint-checksum"
CHECKSUM_PLACEHOLDER = "sha256:" + "0" * 64  # the checksum of a file that has not been sealed yet
FORMAT_VERSION: Literal[1] = 1

Number = Annotated[float, Field(allow_inf_nan=False)]


class ModelCard(BaseModel):
    """Everything that a server needs and that an owner must be able to answer for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    name: str
    latent_dim: int = Field(ge=1)
    prior: Literal["normal"] = "normal"
    resolution: int = Field(ge=1)
    channels: Literal[1, 3]
    classes: tuple[str, ...]  # in label order; empty for a model without classes
    mean_latent: tuple[Number, ...]
    directions: tuple[tuple[Number, ...], ...] = ()  # principal directions of z, unit vectors, the strongest first
    images_seen: int = Field(ge=0)
    data_sha256: str
    git_revision: str | None  # None when trained outside a git checkout
    params: dict[str, Any]  # params.yaml as it was
    licence: str

    @model_validator(mode="after")
    def _vectors_have_the_latent_size(self) -> "ModelCard":
        for name, vector in (("mean_latent", self.mean_latent), *(("a direction", one) for one in self.directions)):
            if len(vector) != self.latent_dim:
                raise ValueError(f"{name} has {len(vector)} numbers for latent_dim {self.latent_dim}")
        return self

    @cached_property
    def class_names(self) -> ClassNames:
        """The classes, to look labels up in."""
        return ClassNames(self.classes)

    @property
    def shape(self) -> str:
        """The image shape and the number of classes in a few words, such as `28x28x1, 10 classes`."""
        classes = f"{len(self.classes)} classes" if self.classes else "no classes"
        return f"{self.resolution}x{self.resolution}x{self.channels}, {classes}"


def read_card(metadata: dict[str, str], path: str) -> ModelCard:
    """Parses the card in an ONNX file's metadata. Raises ModelError that names the field at fault."""
    if CARD_KEY not in metadata:
        raise ModelError(f"{path} carries no model card; export it with Mint (python -m training.export)")
    try:
        return ModelCard.model_validate_json(metadata[CARD_KEY])
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"]) or "card"
        raise ModelError(
            f"{path}: the model card's {field} is wrong ({problem['msg']}); export the model again with this Mint"
        ) from None


def embed_checksum(content: bytes) -> bytes:
    """A model file whose metadata holds UNSEALED, with its checksum in that place."""
    return content.replace(CHECKSUM_PLACEHOLDER.encode(), _checksum(content).encode(), 1)


def verify_checksum(content: bytes, metadata: dict[str, str], path: str) -> None:
    """Raises ModelError unless the file is, byte for byte, what was sealed."""
    checksum = metadata.get(CHECKSUM_KEY)
    if checksum is None:
        raise ModelError(f"{path} carries no checksum; export it again with this Mint (python -m training.export)")
    if _checksum(content.replace(checksum.encode(), CHECKSUM_PLACEHOLDER.encode(), 1)) != checksum:
        raise ModelError(f"{path} is damaged, as its checksum does not match; copy it again or export it again")


def _checksum(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
