"""What the environment says about the service: every MINT_ variable that it reads, and what each one means."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
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

from serving.errors import SettingsError
from serving.http.schemas import MAX_IMAGES
from serving.inference.ort_session import Provider
from serving.server.listener import Address

PREFIX = "MINT_"
BYTES_A_NUMBER = 32  # a 64-bit float takes up to 25 characters in JSON, with its comma
ROOM_FOR_THE_REST = 1 << 20  # seeds, labels and white space
CLIENT_KEY = "MINT_API_KEY"  # what `mint generate` sends; a letter away from the service's own MINT_API_KEYS
# What Kubernetes sets in every pod beside services called mint or mint-something; `_PORT` alone holds an address.
SET_BY_KUBERNETES = re.compile(
    r"MINT_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=|"
    r"MINT_(\w+_)?PORT=(tcp|udp|sctp)://"
)
DEFAULT_PORTS = {"http": 80, "https": 443}  # browsers leave them out of an origin

Network = IPv4Network | IPv6Network


def _listed(value: object) -> object:
    """`a, b` as the environment writes a list; raises ValueError for one of nothing but commas."""
    if not isinstance(value, str):
        return value
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    if not parts:
        raise ValueError("it lists nothing")
    return parts


def _origin(value: str) -> str:
    """An origin as browsers write it (RFC 6454, section 6.1): scheme, host in lower case, port unless the usual one.

    Raises ValueError for what no browser sends as one.
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


def _network(value: object) -> object:
    """A range of addresses, or a single one; raises ValueError."""
    try:
        return ip_network(value, strict=False) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("each must be an address or a range of them, such as 10.0.0.0/8") from None


KeyHashes = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_listed)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_listed)]
Networks = Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], NoDecode, BeforeValidator(_listed)]


class Settings(BaseSettings):
    """The MINT_ variables with their defaults."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    model: Path = Field(
        default=Path("models/generator.onnx"),
        description="the default model; every other .onnx file of its folder is served under its own name",
    )
    listen: str = Field(default="127.0.0.1:3000", description="host and port to listen on; port 0 is any free one")
    provider: Provider = Field(
        default="auto", description="auto takes a GPU where there is one, cuda insists on it, cpu goes without"
    )
    threads: int = Field(default=0, ge=0, le=1024, description="CPU threads of one run of the network; 0: every core")
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
        default=4096, ge=1, le=65536, description="connections at a time; beyond them those go that have long been idle"
    )
    read_timeout: float = Field(
        default=30, gt=0, le=3600, description="seconds for a request's whole head, and for its whole body, until 408"
    )
    write_timeout: float = Field(
        default=30, gt=0, le=3600, description="seconds until a client that reads nothing of its answer is cut off"
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
        default=(), description="SHA-256 of each key that may ask (`mint key` makes one), commas between; none: open"
    )
    cors_origins: Origins = Field(
        default=(), description="origins whose pages may call this service, commas between; none: no other page may"
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="addresses of proxies, as ranges with commas between, whose X-Forwarded-For or Forwarded the log "
        "believes; none: the log has the address of whoever connects",
    )

    @field_validator("listen")
    @classmethod
    def _address_is_one(cls, text: str) -> str:
        try:
            return str(Address.parse(text))
        except SettingsError as error:
            raise ValueError(str(error)) from None

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
        _check_names(os.environ, cls.model_fields)
        try:
            return cls()
        except ValidationError as error:
            problem = error.errors()[0]
            said = problem["msg"].removeprefix("Value error, ")
            if not problem["loc"]:
                raise SettingsError(said) from None
            name = str(problem["loc"][0])
            given = "(hidden)" if name == "api_keys" else os.environ.get(f"{PREFIX}{name.upper()}", problem["input"])
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


def _check_names(environment: Mapping[str, str], fields: Mapping[str, object]) -> None:
    """Raises SettingsError for a variable that nobody would read, or that is set and says nothing.

    Either way whoever wrote it believes in a setting that is not there: MINT_API_KEYS misspelt or left blank would
    open the service to everybody.
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
            nearest = get_close_matches(name[:60].upper(), names, n=1, cutoff=0)[0]
            raise SettingsError(f"{name} is not a variable of this service; did you mean {nearest}?")


def _shown(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
