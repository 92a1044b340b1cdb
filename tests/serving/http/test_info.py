"""Information routes: models, documentation, probes, metrics, and errors of paths that do not exist."""

import json
import re
from pathlib import Path

import pytest

from serving.app import ROUTES, create_app
from serving.http.openapi import openapi_document
from serving.http.schemas import ANIMATION_MEDIA_TYPES, MEDIA_TYPES
from serving.http.state import AppState
from serving.inference.generator import OnnxGenerator
from serving.settings import Settings
from tests.serving.conftest import MAX_IMAGES, Call, assert_error, call_app, load_state
from tests.tiny_model import save, tiny_model


def test_model_returns_card_file_hash_and_provider(call: Call, generator: OnnxGenerator) -> None:
    response = call("GET", "/model").json()
    assert response["card"]["classes"] == ["cat", "dog", "eel"]
    assert response["sha256"].startswith(response["model_id"])
    assert (response["model_id"], response["provider"]) == (generator.model_id, "cpu")


def test_model_returns_only_measurements_of_this_very_file(
    call: Call, generator: OnnxGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    metrics = tmp_path / "reports" / "metrics.json"
    assert call("GET", "/model").json()["metrics"] is None
    metrics.parent.mkdir()
    for content, shown in [
        ({"model_id": generator.model_id, "kid": 0.1}, {"model_id": generator.model_id, "kid": 0.1}),
        ({"model_id": "another", "kid": 0.1}, None),
        ({"kid": 0.1}, None),
        ([], None),
    ]:
        metrics.write_text(json.dumps(content))
        assert call("GET", "/model").json()["metrics"] == shown
    metrics.write_text("{")
    assert call("GET", "/model").json()["metrics"] is None
    metrics.write_text(f'{{"model_id": "{generator.model_id}", "kid": NaN}}')
    assert call("GET", "/model").json()["metrics"]["kid"] is None


def test_the_service_is_alive_at_once_and_ready_when_the_model_is_loaded(call: Call) -> None:
    loading = call_app(create_app(AppState(Settings())))
    assert loading("GET", "/livez").status_code == 200
    assert_error(loading("GET", "/readyz"), 503, "the model is still loading")
    assert_error(loading("GET", "/model"), 503, "the model is still loading")
    assert call("GET", "/readyz").status_code == 200


def test_readyz_names_a_model_that_failed_to_load(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model")
    failed = call_app(create_app(load_state(damaged)))
    assert_error(failed("GET", "/readyz"), 503, f"{damaged} is not a whole ONNX file")


def test_metrics_count_images_and_batches(call: Call) -> None:
    call("POST", "/generate", json={"count": 3})
    text = call("GET", "/metrics").text
    assert re.search(r"^mint_images_total\{.*\} [1-9]", text, re.MULTILINE)
    assert re.search(r"^mint_batch_size_count [1-9]", text, re.MULTILINE)


def test_an_unknown_path_gets_404_with_the_nearest_route(call: Call) -> None:
    assert_error(call("GET", "/generat"), 404, "there is nothing at /generat; did you mean /generate?")
    assert_error(call("POST", "/generate/", json={"seeds": [7]}), 404, "did you mean /generate?")
    assert_error(call("GET", "/docs.json"), 404, "did you mean /docs?")
    assert_error(call("GET", "/%00/%ff"), 404, "see /docs for what there is")


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", "/generate", "POST"), ("DELETE", "/model", "GET, HEAD")]
)
def test_a_wrong_method_gets_405_with_the_allowed_ones(call: Call, method: str, path: str, allowed: str) -> None:
    response = call(method, path)
    assert_error(response, 405, f"{path} does not answer {method}; use ")
    assert ", ".join(sorted(response.headers["allow"].split(", "))) == allowed


def test_the_documentation_page_has_no_scripts_and_no_other_hosts(call: Call) -> None:
    page = call("GET", "/docs")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert set(re.findall(r"https?://([^/:]+)", page.text)) == {"127.0.0.1"}
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for path in call("GET", "/openapi.json").json()["paths"]:
        assert path in page.text


def test_the_openapi_document_covers_every_route_and_status(call: Call) -> None:
    document = call("GET", "/openapi.json").json()
    assert document == json.loads(json.dumps(openapi_document(Settings(max_images=MAX_IMAGES))))
    assert set(document["paths"]) == {route.path for route in ROUTES}
    responses = document["paths"]["/generate"]["post"]["responses"]
    assert set(responses) == {"200", "400", "404", "408", "413", "414", "429", "431", "500", "503", "504"}
    assert set(responses["200"]["content"]) == set(MEDIA_TYPES.values())
    animation = document["paths"]["/interpolate"]["post"]["responses"]["200"]["content"]
    assert set(animation) == set(ANIMATION_MEDIA_TYPES.values())
    for reference in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert reference in document["components"]["schemas"]


def test_an_unexpected_exception_is_logged_and_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = load_state(save(tiny_model(brittle=True), tmp_path / "brittle.onnx"))
    response = call_app(create_app(state))("POST", "/generate", json={"latents": [[500] * 8], "labels": 0})
    assert_error(response, 500, "something went wrong in the server; its log says what")
    assert "out of data bounds" in caplog.text
    state.batcher.close()
