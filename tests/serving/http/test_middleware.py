"""Middleware: request ids, API keys, CORS, security headers, client addresses, metrics, the access log, draining."""

import base64
import json
import logging
import re
from pathlib import Path

import pytest

from serving.app import create_app
from serving.http.auth import UnknownKeyError, check_key, key_hash, new_key
from serving.http.state import AppState
from serving.json_logging import JsonFormatter
from serving.settings import Settings
from tests.serving.conftest import Call, assert_error, call_app, load_state, serve_model

KEY = new_key()
BEARER = {"Authorization": f"Bearer {KEY}"}
ADDRESSES = ("/", "/model", "/models", "/metrics", "/docs", "/openapi.json", "/images/7.png", "/no/such/path")


@pytest.fixture(scope="module")
def keyed(model_path: Path) -> Call:
    """A service with two API keys."""
    return next(serve_model(model_path, api_keys=(key_hash(new_key()), key_hash(KEY))))


def test_a_response_has_a_request_id_the_clients_own_if_it_is_safe_to_log(call: Call) -> None:
    assert call("GET", "/livez", headers={"X-Request-ID": "order-66.a_B"}).headers["x-request-id"] == "order-66.a_B"
    given = ["", "x" * 65, 'a"b', "a b"]
    made = [call("GET", "/livez", headers={"X-Request-ID": one}).headers["x-request-id"] for one in given]
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in made)
    assert len(set(made)) == len(made)
    assert call("POST", "/generate", json={}).headers["x-request-id"]


def test_security_headers_forbid_sniffing_framing_and_other_sources(call: Call) -> None:
    for path in ("/images/7.png", "/model", "/", "/docs", "/no/such/path"):
        headers = call("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers.get_list("content-security-policy") == [headers["content-security-policy"]]
        assert "access-control-allow-origin" not in headers


def test_without_a_key_only_the_probes_respond_200(keyed: Call) -> None:
    for path in ADDRESSES:
        response = keyed("GET", path)
        assert_error(response, 401, "this server needs a key; send the header Authorization: Bearer KEY")
        assert response.headers.get_list("www-authenticate") == ["Bearer", 'Basic realm="Mint", charset="UTF-8"']
    assert_error(keyed("POST", "/generate", json={"seeds": [7]}), 401, "needs a key")
    for path in ("/livez", "/readyz"):
        assert keyed("GET", path).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        "Bearer",
        "Basic !",
        "Basic eHg=",
        "bearer \udcff",
        f"Bearer {key_hash(KEY)}",
    ],
    ids=["longer", "shorter", "none", "not base64", "no colon", "not ASCII", "the hash"],
)
def test_an_unknown_key_gets_403(keyed: Call, header: str) -> None:
    value = header.encode("utf-8", "surrogateescape")
    assert_error(keyed("GET", "/model", headers={"Authorization": value}), 403, "this key is not known here")  # type: ignore[dict-item]


def test_a_known_key_is_accepted_as_bearer_and_as_basic_password(keyed: Call) -> None:
    basic = {"Authorization": f"Basic {base64.b64encode(f'anyone:{KEY}'.encode()).decode()}"}
    for headers in (BEARER, {"Authorization": f"bearer {KEY}"}, basic):
        assert keyed("GET", "/images/7.png", headers=headers).status_code == 200
    assert keyed("GET", "/no/such/path", headers=BEARER).status_code == 404
    document = keyed("GET", "/openapi.json", headers=BEARER).json()
    assert {"401", "403"} <= document["paths"]["/generate"]["post"]["responses"].keys()
    assert "401" not in document["paths"]["/readyz"]["get"]["responses"]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_each_of_several_keys_is_accepted_and_its_hash_is_not(position: int) -> None:
    keys = [new_key() for _ in range(3)]
    hashes = [key_hash(key) for key in keys]
    check_key(f"Bearer {keys[position]}", hashes)
    with pytest.raises(UnknownKeyError):
        check_key(f"Bearer {hashes[position]}", hashes)


def test_only_configured_origins_get_cors_headers(model_path: Path) -> None:
    state = load_state(model_path, cors_origins=("https://shop.example",), api_keys=(key_hash(KEY),))
    call = call_app(create_app(state))
    preflight_headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    preflight = call(
        "OPTIONS", "/generate", headers=preflight_headers | {"Access-Control-Request-Headers": "authorization"}
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://shop.example"
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    response = call("GET", "/images/7.png", headers=BEARER | {"Origin": "https://shop.example"})
    assert response.headers["access-control-allow-origin"] == "https://shop.example"
    assert "X-Mint-Model" in response.headers["access-control-expose-headers"]
    other = call("GET", "/images/7.png", headers=BEARER | {"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers
    assert "Origin" in other.headers["vary"]  # or a cache would give one origin's response to another


@pytest.mark.parametrize(
    ("header", "value", "refused"),
    [
        ("Origin", "https://other.example", "origin"),
        ("Access-Control-Request-Method", "DELETE", "method"),
        ("Access-Control-Request-Headers", "x-secret", "headers"),
    ],
)
def test_a_preflight_gets_the_same_headers_log_and_errors_as_other_requests(
    model_path: Path, header: str, value: str, refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    call = call_app(
        create_app(load_state(model_path, cors_origins=("https://shop.example",), api_keys=(key_hash(KEY),)))
    )
    preflight_headers = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "X-Request-ID": "pre",
    }
    with caplog.at_level(logging.INFO, "serving.access"):
        granted = call("OPTIONS", "/generate", headers=preflight_headers)
        response = call("OPTIONS", "/generate", headers=preflight_headers | {header: value})
    assert_error(response, 400, f"because of its {refused}; MINT_CORS_ORIGINS lists the origins that may")
    assert_error(
        call("OPTIONS", "/generate", headers=preflight_headers | {"Access-Control-Request-Headers": "a," * 9999}),
        400,
        "",
    )
    for each in (granted, response):
        assert each.headers["x-request-id"] == "pre"
        assert each.headers["x-content-type-options"] == "nosniff"
    assert [record.getMessage() for record in caplog.records] == ["OPTIONS /generate 200", "OPTIONS /generate 400"]


def test_responses_that_need_a_key_are_private(keyed: Call, call: Call) -> None:
    model_id = call("GET", "/model").json()["model_id"]
    for path in (*ADDRESSES, f"/images/7.png?model={model_id}", "/images/7.gif"):
        for headers in ({}, BEARER):
            response = keyed("GET", path, headers=headers)
            assert response.headers.get_list("cache-control")[0].startswith("private")
            assert "public" not in response.headers["cache-control"]
            assert response.headers["vary"] == "Authorization"
    kept = keyed("GET", f"/images/7.png?model={model_id}", headers=BEARER)
    assert kept.headers["cache-control"] == "private, max-age=31536000, immutable"
    again = keyed("GET", "/images/7.png", headers=BEARER | {"If-None-Match": kept.headers["etag"]})
    assert (again.status_code, again.headers["cache-control"]) == (304, "private, no-cache")
    assert call("GET", f"/images/7.png?model={model_id}").headers["cache-control"].startswith("public, ")
    assert "cache-control" not in keyed("GET", "/livez").headers


PEER = "127.0.0.1"  # of httpx's ASGI transport


@pytest.mark.parametrize(
    ("trusted", "headers", "client"),
    [
        ((), {"X-Forwarded-For": "203.0.113.7"}, PEER),
        (("10.0.0.0/8",), {"X-Forwarded-For": "203.0.113.7"}, PEER),
        ((PEER,), {}, PEER),
        ((PEER,), {"X-Forwarded-For": "203.0.113.7"}, "203.0.113.7"),
        ((PEER,), {"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}, "203.0.113.7"),  # anybody can write the left one
        ((PEER, "10.0.0.0/8"), {"X-Forwarded-For": "6.6.6.6, 203.0.113.7, 10.1.2.3"}, "203.0.113.7"),
        ((PEER, "10.0.0.0/8"), {"X-Forwarded-For": "10.1.2.3"}, "10.1.2.3"),
        ((PEER,), {"X-Forwarded-For": "203.0.113.7:4711"}, "203.0.113.7"),
        ((PEER,), {"X-Forwarded-For": "2001:db8::7"}, "2001:db8::7"),
        ((PEER,), {"X-Forwarded-For": "[2001:DB8::7]:4711"}, "2001:db8::7"),
        ((PEER,), {"X-Forwarded-For": "::ffff:203.0.113.7"}, "203.0.113.7"),
        ((PEER,), {"X-Forwarded-For": "unknown"}, PEER),
        ((PEER,), {"X-Forwarded-For": "6.6.6.6, nonsense"}, PEER),
        ((PEER,), {"X-Forwarded-For": "fe80::1%free-text"}, PEER),
        ((PEER,), {"X-Forwarded-For": "6.6.6.6," * 5000 + "203.0.113.7"}, "203.0.113.7"),
        ((PEER,), {"Forwarded": 'for=6.6.6.6, For="[2001:db8::7]:4711";proto=https;by=10.0.0.1'}, "2001:db8::7"),
        ((PEER,), {"Forwarded": "for=_hidden"}, PEER),
        ((PEER,), {"Forwarded": "proto=https"}, PEER),
        ((PEER,), {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=6.6.6.6"}, "203.0.113.7"),
    ],
)
def test_the_log_names_the_client_that_trusted_proxies_report(
    model_path: Path,
    trusted: tuple[str, ...],
    headers: dict[str, str],
    client: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    call = call_app(create_app(AppState(Settings(model=model_path, trusted_proxies=trusted))))
    with caplog.at_level(logging.INFO, "serving.access"):
        call("GET", "/docs", headers=headers)
    (record,) = caplog.records
    assert json.loads(JsonFormatter().format(record))["client"] == client


def test_metrics_are_labelled_by_route_and_never_by_path(call: Call) -> None:
    for path in ("/images/4123456789.png", "/no/such/path-zebra", "/ui/secret"):
        call("GET", path)
    call("BREW", "/generate")
    text = call("GET", "/metrics").text
    assert 'mint_requests_total{method="GET",route="/images/{seed}.{ext}",status="200"}' in text
    assert 'mint_requests_total{method="GET",route="other",status="404"}' in text
    assert 'mint_requests_total{method="other",route="/generate",status="405"}' in text
    assert 'mint_request_seconds_bucket{le="0.5",route="/images/{seed}.{ext}"}' in text
    for part in ("4123456789", "zebra", "secret", "BREW"):
        assert part not in text


def test_metrics_show_the_queue_and_the_models(call: Call) -> None:
    model_id = call("GET", "/model").json()["model_id"]
    text = call("GET", "/metrics").text
    assert "mint_queue_images 0.0" in text
    assert f'mint_model_info{{model="tiny",model_id="{model_id}",provider="cpu"}} 1.0' in text
    assert "mint_queue_wait_seconds_count" in text


def test_a_request_is_one_line_of_json_in_the_log(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "serving.access"):
        call("GET", "/images/7.png?label=cat", headers={"X-Request-ID": "abc"})
        call("GET", "/livez")
    records = [record for record in caplog.records if record.name == "serving.access"]
    assert len(records) == 1  # probes are not logged
    line = json.loads(JsonFormatter().format(records[0]))
    assert (line["method"], line["path"], line["status"], line["level"]) == ("GET", "/images/7.png", 200, "info")
    assert 0 < line["seconds"] < 10


def test_a_draining_server_is_not_ready_and_closes_connections_but_serves_requests(model_path: Path) -> None:
    state = load_state(model_path)
    call = call_app(create_app(state))
    assert "connection" not in call("GET", "/images/7.png").headers
    state.draining = True
    assert_error(call("GET", "/readyz"), 503, "the server is about to stop; ask another one")
    response = call("GET", "/images/8.png")
    assert (response.status_code, response.headers["connection"]) == (200, "close")
    assert call("GET", "/livez").status_code == 200
