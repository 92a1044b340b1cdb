"""What the environment says about the service: every MINT_ variable that it reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import SettingsError
from serving.generator import Provider

PREFIX = "MINT_"
BYTES_A_NUMBER = 32  # a 64-bit float takes up to 25 characters in JSON, with its comma
ROOM_FOR_THE_REST = 1 << 20  # seeds, labels and white space


class Settings(BaseModel):
    """MINT_MODEL, MINT_PROVIDER and MINT_MAX_IMAGES, with their defaults."""

    model_config = ConfigDict(frozen=True)

    model: Path = Path("models/generator.onnx")
    provider: Provider = "auto"
    max_images: int = Field(default=256, ge=1, le=1024)  # in one request; their seeds must fit into a header

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Reads the MINT_ variables; raises SettingsError that names the one at fault."""
        given = {
            name: environment[PREFIX + name.upper()]
            for name in cls.model_fields
            if PREFIX + name.upper() in environment
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problem = error.errors()[0]
            said = problem["msg"][0].lower() + problem["msg"][1:]
            raise SettingsError(
                f"{PREFIX}{str(problem['loc'][0]).upper()}={problem['input']} does not work: {said}"
            ) from None

    @property
    def max_waiting(self) -> int:
        """Images that may wait for the network: a few of the largest requests."""
        return 4 * self.max_images

    def max_body_bytes(self, latent_dim: int) -> int:
        """A request body of this size holds the largest request there can be."""
        return self.max_images * latent_dim * BYTES_A_NUMBER + ROOM_FOR_THE_REST
