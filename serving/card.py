"""The model card: what an ONNX file says about itself, kept in its metadata under the key `mint`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.errors import ModelError

CARD_KEY = "mint"
FORMAT_VERSION: Literal[1] = 1


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
    mean_latent: tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
    images_seen: int = Field(ge=0)
    data_sha256: str
    git_revision: str | None  # None when trained outside a git checkout
    params: dict[str, Any]  # params.yaml as it was
    licence: str

    @model_validator(mode="after")
    def _mean_has_the_latent_size(self) -> "ModelCard":
        if len(self.mean_latent) != self.latent_dim:
            raise ValueError(f"mean_latent has {len(self.mean_latent)} numbers for latent_dim {self.latent_dim}")
        return self

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
