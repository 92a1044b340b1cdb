"""Retries of both clients: only requests that were not carried out are sent again."""

import threading
from typing import Any

import pytest

from serving.client import NoResponseError, ServerError
from tests.serving.client.calls import BOTH_CLIENTS, CallClient
from tests.serving.client.scripted_server import ERROR, NO_MODELS, free_port, scripted_server


@BOTH_CLIENTS
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {}])
def test_a_request_to_a_busy_service_is_retried(call_client: CallClient, status: int, headers: dict[str, str]) -> None:
    with scripted_server((status, headers, ERROR), (200, {}, NO_MODELS)) as server:
        assert call_client(server.url, "models").models == []
        assert len(server.paths) == 2


@BOTH_CLIENTS
def test_a_retry_after_beyond_the_patience_raises_at_once(call_client: CallClient) -> None:
    with scripted_server((429, {"Retry-After": "60"}, ERROR)) as server:
        with pytest.raises(ServerError, match="try again") as raised:
            call_client(server.url, "models", patience=5)
        assert raised.value.status == 429
        assert len(server.paths) == 1


@BOTH_CLIENTS
def test_retries_end_with_the_patience(call_client: CallClient) -> None:
    with scripted_server((503, {"Retry-After": "0"}, ERROR)) as server:
        with pytest.raises(ServerError) as raised:
            call_client(server.url, "models", patience=1)
        assert raised.value.status == 503
        assert 1 <= len(server.paths) <= 3


@BOTH_CLIENTS
@pytest.mark.parametrize("response", [(500, {"Retry-After": "0"}, ERROR), (504, {}, ERROR), None])
def test_a_request_that_may_have_been_carried_out_is_not_retried(call_client: CallClient, response: Any) -> None:
    with scripted_server(response) as server:
        with pytest.raises((ServerError, NoResponseError)):
            call_client(server.url, "generate", [7])
        assert len(server.paths) == 1


@BOTH_CLIENTS
def test_a_refused_connection_is_retried_until_the_service_starts(call_client: CallClient) -> None:
    port = free_port()
    responses: list[Any] = []
    caller = threading.Thread(target=lambda: responses.append(call_client(f"http://127.0.0.1:{port}", "models")))
    caller.start()
    caller.join(0.3)
    with scripted_server((200, {}, NO_MODELS), port=port):
        caller.join()
    assert [response.models for response in responses] == [[]]


@BOTH_CLIENTS
def test_an_unreachable_service_is_named(call_client: CallClient) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(NoResponseError, match=f"no answer from {address}/generate .*; check the address") as raised:
        call_client(address, "generate", [7], patience=0)
    assert "\n" not in str(raised.value)
