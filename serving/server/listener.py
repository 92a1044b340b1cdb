"""The address that the service listens on: read from its text, and opened before anything else is done."""

import errno
import socket
from dataclasses import dataclass
from typing import Self

from serving.errors import SettingsError

MAX_PORT = 65535
CHOOSE = "choose another with --port or MINT_LISTEN"


@dataclass(frozen=True)
class Address:
    """A host, by name or by number, and a port; port 0 is any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`127.0.0.1:3000` or `[::1]:3000`; raises SettingsError."""
        host, _, port = text.rpartition(":")
        if not host:
            raise SettingsError(f"{text!r} is no address to listen on; write host and port, such as 127.0.0.1:3000")
        return cls(host.removeprefix("[").removesuffix("]"), parse_port(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_port(text: str) -> int:
    """A port's number; raises SettingsError for what is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= MAX_PORT):
        raise SettingsError(f"{text!r} is not a port; ports are whole numbers from 0 (any free one) to {MAX_PORT}")
    return int(text)


def bind(address: Address) -> socket.socket:
    """A socket bound to the address, not listening yet; raises SettingsError where that cannot be."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError):  # UnicodeError: a name with empty or overlong parts
        raise SettingsError(
            f"{address.host!r} is no known host; choose 127.0.0.1, 0.0.0.0 or an address of this machine"
        ) from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # [::] means every address, of IPv4 too
        bound.bind(place)
        bound.listen()  # a second service notices here, and not when the model is loaded
    except OSError as error:
        bound.close()
        raise SettingsError(_refusal(address, error)) from None
    return bound


def _refusal(address: Address, error: OSError) -> str:
    """Why an address cannot be had, as a sentence."""
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {address.port} of {address.host} is in use; end what listens there, or {CHOOSE}"
        case errno.EACCES | errno.EPERM:
            return f"port {address.port} of {address.host} is not allowed for this user; {CHOOSE}, from 1024 on"
        case errno.EADDRNOTAVAIL:
            return f"{address.host} is not an address of this machine; choose 127.0.0.1, 0.0.0.0 or one of its own"
        case _:
            return f"{address} cannot be listened on ({error.strerror}); {CHOOSE}"
