"""The listening socket, opened before the model is loaded, so that an address in use is reported at once."""

import errno
import socket

from serving.address import Address
from serving.errors import SettingsError

CHOOSE_ANOTHER = "choose another with --port or MINT_LISTEN"


def bind(address: Address) -> socket.socket:
    """Open a listening socket; raises SettingsError with the reason where that is impossible."""
    try:
        family, kind, protocol, _, sockaddr = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError):  # UnicodeError: a name with empty or overlong parts
        raise SettingsError(
            f"{address.host!r} is no known host; choose 127.0.0.1, 0.0.0.0 or an address of this machine"
        ) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # [::] means every address, of IPv4 too
        listener.bind(sockaddr)
        listener.listen()  # a second service on this port fails here, and not after its model is loaded
    except OSError as error:
        listener.close()
        raise SettingsError(_describe(address, error)) from None
    return listener


def _describe(address: Address, error: OSError) -> str:
    """Describe, in a sentence, an error of opening the address."""
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {address.port} of {address.host} is in use; end what listens there, or {CHOOSE_ANOTHER}"
        case errno.EACCES | errno.EPERM:
            return f"port {address.port} of {address.host} is not allowed for this user; {CHOOSE_ANOTHER}, from 1024 on"
        case errno.EADDRNOTAVAIL:
            return f"{address.host} is not an address of this machine; choose 127.0.0.1, 0.0.0.0 or one of its own"
        case _:
            return f"{address} cannot be listened on ({error.strerror}); {CHOOSE_ANOTHER}"
