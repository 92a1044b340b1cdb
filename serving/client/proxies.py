"""Proxy and certificates that the environment names: HTTP_PROXY, NO_PROXY, SSL_CERT_FILE and their like.

httpx reads them too, but fails on a NO_PROXY with [::1], takes a network such as 10.0.0.0/8 for a host name, and
answers a wrong value with a traceback that does not name the variable.
"""

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import getproxies

import httpx

from serving.errors import InputError

DEFAULT_PORTS = {"http": 80, "https": 443}


def connection_options(address: httpx.URL) -> dict[str, Any]:
    """Arguments of httpx's clients for a service at `address`; raises InputError that names a variable at fault."""
    return {"trust_env": False, "proxy": proxy_for(address, getproxies()), "verify": certificates()}


def proxy_for(address: httpx.URL, named: Mapping[str, str]) -> httpx.Proxy | None:
    """The proxy between here and `address`; None for a direct connection.

    named: proxies by scheme, with `all` and `no`, as urllib's getproxies reads them from the environment. Raises
    InputError for one that cannot be used.
    """
    scheme = next((scheme for scheme in (address.scheme, "all") if named.get(scheme)), None)
    if scheme is None or any(bypasses(entry, address) for entry in named.get("no", "").split(",")):
        return None
    url = named[scheme] if "://" in named[scheme] else f"http://{named[scheme]}"
    variable = f"{scheme.upper()}_PROXY"
    kind = url.partition("://")[0][:20]
    if kind.lower().startswith("socks"):
        raise InputError(
            f"{variable} names a SOCKS proxy, which this client cannot use; name an HTTP proxy, or add "
            f"{address.host} to NO_PROXY"
        )
    try:
        return httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL):  # what it holds is not said: a proxy's address may have a password in it
        raise InputError(f"{variable} is not the address of a proxy; write it as http://host:3128") from None


def bypasses(entry: str, address: httpx.URL) -> bool:
    """Whether an entry of NO_PROXY covers an address.

    entry: `*`, a host with all names below it, an IP address or a network such as 10.0.0.0/8; with a port or without,
    an IPv6 address in brackets or bare. The rules are curl's (CURLOPT_NOPROXY).
    """
    entry = entry.strip().lower().rpartition("://")[2]
    if entry == "*":
        return True
    with_port = re.fullmatch(r"(\[[^]]*\]|[^:]*):(\d+)", entry)
    host, port = with_port.groups() if with_port else (entry, None)
    if port is not None and int(port) != (address.port or DEFAULT_PORTS[address.scheme]):
        return False
    try:
        network = ipaddress.ip_network(host.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        name = host.removeprefix("*").removeprefix(".").removesuffix(".")
        return bool(name) and f".{address.host.lower()}".endswith(f".{name}")
    try:
        return ipaddress.ip_address(address.host) in network
    except ValueError:
        return False


def certificates() -> ssl.SSLContext:
    """The authorities that an https service is checked against: those the environment names, else certifi's.

    Raises InputError for a file or folder that cannot be read.
    """
    named = {name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)}
    for variable, path in named.items():
        try:
            if variable == "SSL_CERT_FILE":
                return ssl.create_default_context(cafile=path)
            next(Path(path).iterdir(), None)  # which raises what OpenSSL keeps to itself: no folder, not readable
            return ssl.create_default_context(capath=path)
        except (OSError, ValueError) as error:
            why = (
                error.strerror if isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError) else None
            )
            raise InputError(
                f"{variable} names {path[:200]!r}, which cannot be used ({why or 'no certificates in PEM form'}); "
                "correct it or unset it"
            ) from None
    return httpx.create_ssl_context(trust_env=False)
