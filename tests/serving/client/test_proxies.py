"""Proxy and TLS settings of the environment."""

import httpx
import pytest

from serving.client.proxies import bypasses
from serving.errors import InputError
from tests.serving.client.calls import BOTH_CLIENTS, CallClient
from tests.serving.client.scripted_server import NO_MODELS, scripted_server


@BOTH_CLIENTS
@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ALL_PROXY": "socks5://127.0.0.1:1"}, "ALL_PROXY names a SOCKS proxy.* add 127.0.0.1 to NO_PROXY"),
        ({"HTTP_PROXY": "ftp://127.0.0.1"}, "HTTP_PROXY is not the address of a proxy"),
        ({"HTTP_PROXY": "http://me:secret@mint:port"}, "HTTP_PROXY is not the address of a proxy"),
        ({"SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE names '/nowhere.pem'.*No such file"),
        ({"SSL_CERT_FILE": __file__}, "SSL_CERT_FILE names .*no certificates in PEM form"),
        ({"SSL_CERT_DIR": __file__}, "SSL_CERT_DIR names .*Not a directory"),
    ],
)
def test_an_invalid_environment_variable_is_named(
    call_client: CallClient, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    set_environment(monkeypatch, variables)
    with pytest.raises(InputError, match=sentence) as raised:
        call_client("http://127.0.0.1:1", "models")
    assert "secret" not in str(raised.value)


def set_environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Sets variables, and no other proxy or certificates than theirs."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@BOTH_CLIENTS
def test_requests_go_through_the_proxy_of_the_environment(
    call_client: CallClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server((200, {}, NO_MODELS)) as proxy:
        set_environment(monkeypatch, {"HTTP_PROXY": proxy.url.removeprefix("http://")})
        call_client("http://mint.example:3000", "models")
        assert proxy.paths == ["http://mint.example:3000/models"]


@BOTH_CLIENTS
@pytest.mark.parametrize("no_proxy", ["127.0.0.0/8", "[::1],127.0.0.1", "*", "::1, 127.0.0.1"])
def test_no_proxy_bypasses_the_proxy(call_client: CallClient, monkeypatch: pytest.MonkeyPatch, no_proxy: str) -> None:
    with scripted_server((200, {}, NO_MODELS)) as server:
        set_environment(monkeypatch, {"ALL_PROXY": "socks5://127.0.0.1:1", "NO_PROXY": no_proxy})
        assert call_client(server.url, "models").models == []


@pytest.mark.parametrize(
    ("entry", "address", "covered"),
    [
        ("example.com", "http://mint.example.com", True),
        (".example.com", "http://example.com", True),
        ("*.example.com", "http://mint.example.com", True),
        ("example.com", "http://anexample.com", False),
        ("EXAMPLE.com:3000", "http://example.com:3000", True),
        ("example.com:3000", "http://example.com", False),
        ("example.com:443", "https://example.com", True),
        ("::1", "http://[::1]:3000", True),
        ("[::1]:3000", "http://[::1]:3000", True),
        ("[::1]:3001", "http://[::1]:3000", False),
        ("fd00::/8", "http://[fd12::1]", True),
        ("10.0.0.0/8", "http://10.1.2.3:3000", True),
        ("10.0.0.0/8", "http://11.1.2.3:3000", False),
        ("10.0.0.0/8", "http://mint", False),
        ("", "http://mint", False),
        ("[", "http://mint", False),
    ],
)
def test_no_proxy_follows_the_rules_of_curl(entry: str, address: str, covered: bool) -> None:
    assert bypasses(entry, httpx.URL(address)) == covered
