"""Host and port that the service listens on, parsed from their text."""

from dataclasses import dataclass
from typing import Self

from serving.errors import SettingsError

MAX_PORT = 65535


@dataclass(frozen=True)
class Address:
    """A host, by name or by number, and a port; port 0 is any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `127.0.0.1:3000` or `[::1]:3000`; raises SettingsError."""
        host, _, port = text.rpartition(":")
        if not host:
            raise SettingsError(f"{text!r} is no address to listen on; write host and port, such as 127.0.0.1:3000")
        return cls(host.removeprefix("[").removesuffix("]"), parse_port(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_port(text: str) -> int:
    """Parse a port number; raises SettingsError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= MAX_PORT):
        raise SettingsError(f"{text!r} is not a port; ports are whole numbers from 0 (any free one) to {MAX_PORT}")
    return int(text)
