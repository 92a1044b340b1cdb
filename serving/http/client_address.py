"""The address of a request's client, behind proxies that are trusted to name it."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

LONGEST_CHAIN = 32  # proxies between a client and the service
LONGEST_HEADER = 4096  # characters

Address = IPv4Address | IPv6Address


def client_address(scope: Scope, headers: Headers, trusted: Sequence[IPv4Network | IPv6Network]) -> str | None:
    """The address of the client; None for a connection that has none, such as a Unix socket.

    It is that of whoever has connected. Where that is a trusted proxy, it is the one that the proxy has added to
    X-Forwarded-For, or without that header to Forwarded (RFC 7239), and so on from right to left: what stands left of
    the first address that is not trusted, anybody could have written.
    """
    if scope.get("client") is None:
        return None
    connected: str = scope["client"][0]
    if not trusted:
        return connected
    hops = [connected]
    if (peer := _address(connected)) is not None and _is_one_of(peer, trusted):
        for hop in reversed(_forwarded(headers)):
            if (address := _address(hop)) is None:
                break
            hops.append(str(address))
            if not _is_one_of(address, trusted):
                break
    return hops[-1]


def _forwarded(headers: Headers) -> list[str]:
    """The addresses that proxies have noted, each to the right of those before."""
    if "x-forwarded-for" in headers:
        return _hops(headers.getlist("x-forwarded-for"))
    return [_for(hop) for hop in _hops(headers.getlist("forwarded"))]


def _hops(values: Sequence[str]) -> list[str]:
    """The last elements of a header that may be there several times."""
    return ",".join(values)[-LONGEST_HEADER:].split(",")[-LONGEST_CHAIN:]


def _for(element: str) -> str:
    """The `for` of one element of Forwarded; empty where there is none."""
    pairs = (pair.strip().partition("=") for pair in element.split(";"))
    return next((value for name, _, value in pairs if name.lower() == "for"), "")


def _address(text: str) -> Address | None:
    """An address, perhaps in quotes, in brackets or with a port; None for anything else, such as `unknown`."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:  # free text
            return None
        return address.ipv4_mapped or address
    return address


def _is_one_of(address: Address, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks)
