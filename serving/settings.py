"""Settings of the service: every MINT_ environment variable, with its default, range and meaning."""

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from serving.address import Address
from serving.error_messages import did_you_mean, invalid_fields
from serving.errors import SettingsError
from serving.inference.latents import MAX_IMAGES
from serving.inference.ort_session import Provider

PREFIX = "MINT_"
CLIENT_KEY = "MINT_API_KEY"  # of `mint generate`; a letter away from the service's own MINT_API_KEYS
# Set by Kubernetes in every pod beside services called mint or mint-something; `_PORT` alone holds an address.
SET_BY_KUBERNETES = re.compile(
    r"MINT_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=|"
    r"MINT_(\w+_)?PORT=(tcp|udp|sctp)://"
)
DEFAULT_PORTS = {"http": 80, "https": 443}  # left out of an origin

Network = IPv4Network | IPv6Network


def _split(value: object) -> object:
    """Split `a, b`; raises ValueError for nothing but commas."""
    if not isinstance(value, str):
        return value
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    if not parts:
        raise ValueError("it lists nothing")
    return parts


def _normalise_origin(value: str) -> str:
    """Write an origin as browsers do (RFC 6454, section 6.1): scheme, host in lower case, port unless the default.

    Raises ValueError for one that no browser sends.
    """
    if value == "*":
        return value
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or not plain or not value.isascii():
        raise ValueError("each must be a scheme, a host and perhaps a port, such as https://shop.example")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}")


def _parse_network(value: object) -> object:
    """Parse a range of addresses, or a single one; raises ValueError."""
    try:
        return ip_network(value, strict=False) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("each must be an address or a range of them, such as 10.0.0.0/8") from None


KeyHashes = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_normalise_origin)], ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[Annotated[Network, BeforeValidator(_parse_network)], ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Values of the MINT_ variables."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    model: Path = Field(
        default=Path("models/generator.onnx"),
        description="the default model; every other .onnx file of its folder is served under its own name",
    )
    listen: str = Field(default="127.0.0.1:3000", description="host and port to listen on; port 0 is any free one")
    provider: Provider = Field(
        default="auto", description="auto takes a GPU where there is one, cuda insists on it, cpu goes without"
    )
    threads: int = Field(default=0, ge=0, le=1024, description="CPU threads for inference; 0: every core")
    max_images: int = Field(default=256, ge=1, le=MAX_IMAGES, description="images in one request")
    max_queue: int = Field(
        default=1024, ge=1, le=65536, description="images accepted and not yet done; beyond them requests get 429"
    )
    max_encode: float = Field(
        default=20,
        gt=0,
        le=3600,
        description="seconds of encoding, estimated, accepted and not yet done; beyond them requests get 429",
    )
    timeout: float = Field(default=60, gt=0, le=3600, description="seconds until a request gets 504")
    max_connections: int = Field(
        default=4096, ge=1, le=65536, description="connections at a time; beyond them the longest idle are closed"
    )
    read_timeout: float = Field(
        default=30, gt=0, le=3600, description="seconds for a request's whole head, and for its whole body, until 408"
    )
    write_timeout: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="seconds until a client that reads nothing of its response is disconnected",
    )
    drain: float = Field(
        default=5, ge=0, le=600, description="seconds between SIGTERM, when /readyz turns 503, and refusing connections"
    )
    shutdown_timeout: int = Field(
        default=60, ge=0, le=3600, description="seconds after the drain until requests in progress are cut off"
    )
    keep_alive: int = Field(
        default=75, ge=1, le=3600, description="seconds that a connection without a request stays open"
    )
    api_keys: KeyHashes = Field(
        default=(),
        description="SHA-256 of each allowed API key (`mint key` makes one), separated by commas; none: open",
    )
    cors_origins: Origins = Field(
        default=(),
        description="origins whose pages may call this service, separated by commas; none: no other page may",
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="addresses or ranges of trusted proxies, separated by commas, whose X-Forwarded-For or Forwarded "
        "names the client in the log; none: the log names the peer",
    )

    @field_validator("listen")
    @classmethod
    def _check_address(cls, text: str) -> str:
        try:
            return str(Address.parse(text))
        except SettingsError as error:
            raise ValueError(str(error)) from None

    @field_validator("api_keys")
    @classmethod
    def _check_key_hashes(cls, hashes: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(re.fullmatch("[0-9a-f]{64}", each.get_secret_value()) for each in hashes):
            raise ValueError("each must be 64 hexadecimal digits in lower case")
        return hashes

    @model_validator(mode="after")
    def _check_queue_fits_request(self) -> Self:
        if self.max_queue < self.max_images:
            raise ValueError(
                f"MINT_MAX_QUEUE={self.max_queue} is smaller than the largest request (MINT_MAX_IMAGES="
                f"{self.max_images}); raise the one or lower the other"
            )
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """Read the MINT_ variables; raises SettingsError that names the one at fault."""
        _check_names(os.environ, cls.model_fields)
        try:
            return cls()
        except ValidationError as error:
            invalid = invalid_fields(error)[0]
            reason = invalid.reason
            if not invalid.loc:
                raise SettingsError(reason) from None
            name = str(invalid.loc[0])
            given = "(hidden)" if name == "api_keys" else os.environ.get(f"{PREFIX}{name.upper()}", invalid.value)
            rule = cls.model_fields[name].description
            raise SettingsError(
                f"{PREFIX}{name.upper()}={given} does not work ({reason[0].lower() + reason[1:]}); it is {rule}"
            ) from None

    def lines(self) -> list[str]:
        """List each variable with its value, secrets masked, for the log."""
        return [f"{PREFIX}{name.upper()}={_format(getattr(self, name))}" for name in type(self).model_fields]


def _check_names(environment: Mapping[str, str], fields: Mapping[str, object]) -> None:
    """Raise SettingsError for an unknown MINT_ variable, and for one that is set but blank.

    Ignoring either would be dangerous: MINT_API_KEYS misspelt or left blank would open the service to everybody.
    """
    names = [PREFIX + field.upper() for field in fields]
    given = {name: value for name, value in environment.items() if name.upper().startswith(PREFIX)}
    for name, value in given.items():
        if name.upper() in names:
            if not value.strip():
                raise SettingsError(f"{name} is set but empty; give it a value, or unset it for the default")
        elif name == CLIENT_KEY:
            if PREFIX + "API_KEYS" not in given:
                raise SettingsError(f"{name} is for clients; the service takes the hashes of its keys in {name}S")
        elif not SET_BY_KUBERNETES.match(f"{name}={value}"):
            hint = did_you_mean(name[:60].upper(), names, otherwise="remove it", cutoff=0)
            raise SettingsError(f"{name} is not a variable of this service; {hint}")


def _format(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
