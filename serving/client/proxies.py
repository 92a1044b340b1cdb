"""Proxy and TLS settings from the environment: HTTP_PROXY, NO_PROXY, SSL_CERT_FILE and similar variables.

httpx reads them too, but fails on a NO_PROXY with [::1], takes a network such as 10.0.0.0/8 for a host name, and
raises errors for invalid values that do not name the variable.
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
    """Arguments of httpx's clients for a service at `address`; raises InputError that names the invalid variable."""
    return {"trust_env": False, "proxy": proxy_for(address, getproxies()), "verify": certificates()}


def proxy_for(address: httpx.URL, proxies: Mapping[str, str]) -> httpx.Proxy | None:
    """Proxy for requests to `address`; None for a direct connection.

    proxies: URLs by scheme, with `all` and `no`, as urllib's getproxies reads them from the environment. Raises
    InputError for one that cannot be used.
    """
    scheme = next((scheme for scheme in (address.scheme, "all") if proxies.get(scheme)), None)
    if scheme is None or any(bypasses(entry, address) for entry in proxies.get("no", "").split(",")):
        return None
    url = proxies[scheme] if "://" in proxies[scheme] else f"http://{proxies[scheme]}"
    variable = f"{scheme.upper()}_PROXY"
    proxy_scheme = url.partition("://")[0]
    if proxy_scheme.lower().startswith("socks"):
        raise InputError(
            f"{variable} names a SOCKS proxy, which this client cannot use; name an HTTP proxy, or add "
            f"{address.host} to NO_PROXY"
        )
    try:
        return httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL):  # not shown: a proxy's URL may contain a password
        raise InputError(f"{variable} is not the address of a proxy; write it as http://host:3128") from None


def bypasses(entry: str, address: httpx.URL) -> bool:
    """True if an entry of NO_PROXY covers an address, by the rules of curl (CURLOPT_NOPROXY).

    entry: `*`, a host including its subdomains, an IP address or a network such as 10.0.0.0/8; with or without a port,
    IPv6 addresses with or without brackets.
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
    """TLS context with the certificate authorities of the environment, or certifi's by default.

    Raises InputError for a file or folder that cannot be read.
    """
    configured = {name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)}
    for variable, path in configured.items():
        try:
            if variable == "SSL_CERT_FILE":
                return ssl.create_default_context(cafile=path)
            next(Path(path).iterdir(), None)  # raises for a missing or unreadable folder, which OpenSSL ignores
            return ssl.create_default_context(capath=path)
        except (OSError, ValueError) as error:
            reason = (
                error.strerror if isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError) else None
            )
            raise InputError(
                f"{variable} names {path[:200]!r}, which cannot be used ({reason or 'no certificates in PEM form'}); "
                "correct it or unset it"
            ) from None
    return httpx.create_ssl_context(trust_env=False)
