"""What the environment says about the service: every MINT_ variable that it reads, and what each one means."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from serving.errors import SettingsError
from serving.session import Provider

PREFIX = "MINT_"
BYTES_A_NUMBER = 32  # a 64-bit float takes up to 25 characters in JSON, with its comma
ROOM_FOR_THE_REST = 1 << 20  # seeds, labels and white space


def _listed(value: object) -> object:
    """`a, b` as the environment writes a list."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
KeyHashes = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_listed)]


class Settings(BaseSettings):
    """The MINT_ variables with their defaults."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    model: Path = Field(
        default=Path("models/generator.onnx"),
        description="the default model; every other .onnx file of its folder is served under its own name",
    )
    provider: Provider = Field(
        default="auto", description="auto takes a GPU where there is one, cuda insists on it, cpu goes without"
    )
    threads: int = Field(default=0, ge=0, le=1024, description="CPU threads of one run of the network; 0: every core")
    max_images: int = Field(default=256, ge=1, le=1024, description="images in one request")
    max_queue: int = Field(
        default=1024, ge=1, le=65536, description="images accepted and not yet answered; beyond them requests get 429"
    )
    timeout: float = Field(default=60, gt=0, le=3600, description="seconds until a request gets 504")
    drain: float = Field(
        default=5, ge=0, le=600, description="seconds between SIGTERM, when /readyz turns 503, and refusing connections"
    )
    api_keys: KeyHashes = Field(
        default=(), description="SHA-256 of each key that may ask (`mint key` makes one), commas between; none: open"
    )
    cors_origins: Listed = Field(
        default=(), description="origins whose pages may call this service, commas between; none: no other page may"
    )

    @field_validator("api_keys")
    @classmethod
    def _keys_are_hashed(cls, hashes: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(re.fullmatch("[0-9a-f]{64}", each.get_secret_value()) for each in hashes):
            raise ValueError("each must be 64 hexadecimal digits in lower case")
        return hashes

    @model_validator(mode="after")
    def _the_largest_request_fits(self) -> Self:
        if self.max_queue < self.max_images:
            raise ValueError(
                f"MINT_MAX_QUEUE={self.max_queue} is smaller than the largest request (MINT_MAX_IMAGES="
                f"{self.max_images}); raise the one or lower the other"
            )
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """Reads the MINT_ variables; raises SettingsError that names the one at fault."""
        try:
            return cls()
        except ValidationError as error:
            problem = error.errors()[0]
            said = problem["msg"].removeprefix("Value error, ")
            if not problem["loc"]:
                raise SettingsError(said) from None
            name = str(problem["loc"][0])
            given = "(hidden)" if name == "api_keys" else problem["input"]
            rule = cls.model_fields[name].description
            raise SettingsError(
                f"{PREFIX}{name.upper()}={given} does not work ({said[0].lower() + said[1:]}); it is {rule}"
            ) from None

    def lines(self) -> list[str]:
        """Each variable and its value, secrets masked, as they are printed at the start."""
        return [f"{PREFIX}{name.upper()}={_shown(getattr(self, name))}" for name in type(self).model_fields]

    def max_body_bytes(self, latent_dim: int) -> int:
        """A request body of this size holds the largest request there can be."""
        return self.max_images * latent_dim * BYTES_A_NUMBER + ROOM_FOR_THE_REST


def _shown(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
