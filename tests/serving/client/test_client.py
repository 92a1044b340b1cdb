"""Connections of both clients: addresses, credentials, timeouts and responses that are not Mint's."""

import asyncio
import socket

import pytest

from serving.client import AsyncMintClient, NoResponseError, ServerError
from serving.errors import InputError
from tests.serving.client.calls import BOTH_CLIENTS, CallClient
from tests.serving.client.scripted_server import NO_MODELS, scripted_server


@BOTH_CLIENTS
@pytest.mark.parametrize(
    ("response", "status", "sentence"),
    [
        (
            (200, {"Content-Type": "text/html"}, b"<h1>Welcome</h1>"),
            200,
            "does not answer as this version of Mint does",
        ),
        ((200, {}, b'{"models": 7}'), 200, "does not answer as this version of Mint does"),
        ((502, {"Content-Type": "text/html"}, b"<h1>Bad Gateway</h1>"), 502, "answered 502 Bad Gateway"),
        ((301, {"Location": "/elsewhere"}, b""), 301, "answered 301 Moved Permanently"),
    ],
)
def test_a_response_that_is_not_mints_raises_with_its_url(
    call_client: CallClient, response: tuple[int, dict[str, str], bytes], status: int, sentence: str
) -> None:
    with scripted_server(response) as server:
        with pytest.raises(ServerError, match=sentence) as raised:
            call_client(server.url, "models")
        assert raised.value.status == status


@BOTH_CLIENTS
@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:3000", "mint", "ftp://mint", "http://", "http://mint:port", "", "http://mint:99999", "http://xn--/"],
)
def test_invalid_addresses_are_rejected(call_client: CallClient, address: str) -> None:
    with pytest.raises(InputError, match="write it as http://host:3000"):
        call_client(address, "models")


@BOTH_CLIENTS
@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("http://mint", "secret\n"),
        ("http://mint", " secret"),
        ("http://mint", "sécret"),
        ("http://mint", ""),
        ("ftp://name:secret@mint", None),
        ("http://name:secret@mint", "key"),
        ("http://name:secret@127.0.0.1:1", None),
    ],
)
def test_errors_do_not_contain_secrets(call_client: CallClient, address: str, key: str | None) -> None:
    with pytest.raises((InputError, NoResponseError)) as raised:
        call_client(address, "models", key=key, patience=0)
    assert "cret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@BOTH_CLIENTS
def test_credentials_in_the_address_are_sent_as_basic_authentication(call_client: CallClient) -> None:
    with scripted_server((200, {}, NO_MODELS)) as server:
        call_client(server.url.replace("//", "//name:secret@"), "models", key=None)
        assert server.authorizations == ["Basic bmFtZTpzZWNyZXQ="]


def test_an_async_client_works_in_several_event_loops() -> None:
    with scripted_server((200, {}, NO_MODELS)) as server:
        mint = AsyncMintClient(server.url)
        assert [asyncio.run(mint.models()).models for _ in range(3)] == [[], [], []]
        asyncio.run(mint.close())


@BOTH_CLIENTS
def test_a_response_after_the_timeout_raises(call_client: CallClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(NoResponseError, match="no answer from"):
            call_client(address, "models", timeout=0.2)


@BOTH_CLIENTS
def test_errors_name_the_url_without_its_query(call_client: CallClient) -> None:
    with scripted_server((502, {"Content-Type": "text/html"}, b"")) as server:
        with pytest.raises(ServerError) as raised:
            call_client(server.url, "image", 7, label="boot" * 1000)
        assert str(raised.value) == f"{server.url}/images/7.png answered 502 Bad Gateway"


@BOTH_CLIENTS
def test_the_address_may_have_a_path(call_client: CallClient) -> None:
    with scripted_server((200, {}, NO_MODELS)) as server:
        call_client(f"{server.url}/behind/a/proxy/", "models")
        assert server.paths == ["/behind/a/proxy/models"]
