"""Bounds on what a client can make large, checked before any work, and results that are computed only once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.app import create_app
from serving.inference.labels import MAX_HINTED, ClassNames
from tests.serving.conftest import Call, assert_error, call_app, load_state, serve_model
from tests.tiny_model import save, tiny_model

LONG = "x" * 60_000
MAX_SENTENCE = 1500  # characters of an error


@pytest.mark.parametrize(
    "query",
    ["&".join(f"a{number}=1" for number in range(7_000)), "&".join(["labels=1"] * 7_000), "&" * 60_000],
    ids=["names", "labels", "nothing"],
)
def test_thousands_of_parameters_are_refused(call: Call, query: str) -> None:
    for address in ("/images/7.png", "/model"):
        assert_error(call("GET", f"{address}?{query}"), 400, "the address has more than 1040 parameters")
    response = call("POST", f"/generate?{query}", content=b"", headers={"Content-Type": "application/x-npy"})
    assert_error(response, 400, "more than 1040 parameters")


@pytest.mark.parametrize(
    ("method", "address", "request_"),
    [
        ("GET", f"/images/7.png?label={LONG}", {}),
        ("GET", f"/images/7.png?{LONG}=1", {}),
        ("GET", f"/images/7.png?{LONG[:30_000]}=1&{LONG[:30_000]}=2", {}),
        ("GET", f"/images/7.png?model={LONG}", {}),
        ("GET", f"/images/{LONG}.png", {}),
        ("GET", f"/images/7.{LONG}", {}),
        ("GET", f"/model?model={LONG}", {}),
        ("GET", f"/{LONG}", {}),
        ("GET", "/model?model=" + "%E2%80%AE" * 900, {}),
        ("DELETE", f"/images/{LONG}.png", {}),
        ("POST", "/generate", {"json": {"seeds": [1], "labels": LONG}}),
        ("POST", "/generate", {"json": {"seeds": [1], "labels": [LONG]}}),
        ("POST", "/generate", {"json": {"seeds": [1], "model": LONG}}),
        ("POST", "/generate", {"json": {"seeds": [1], LONG: 1}}),
        ("POST", "/generate", {"json": {"seeds": LONG}}),
        ("POST", "/generate", {"json": {"seeds": [[LONG]]}}),
        ("POST", "/generate", {"json": {"seeds": [1], "format": LONG}}),
        ("POST", "/generate", {"json": {"seeds": list(range(20_000))}}),
        ("POST", "/generate", {"json": {"latents": [[0]] * 20_000}}),
        ("POST", "/generate", {"json": {"seeds": [1], "labels": ["cat"] * 20_000}}),
        ("POST", "/generate", {"json": {"seeds": [1], "labels": {"a": list(range(20_000))}}}),
        ("POST", "/generate", {"json": {f"unknown{number}": 1 for number in range(50_000)}}),
        ("POST", "/generate", {"json": {"seeds": [1]}, "headers": {"Accept": f"text/{LONG}"}}),
        ("POST", "/generate", {"json": {"seeds": [1]}, "headers": {"Accept": "a/b," * 15_000}}),
        ("POST", "/generate", {"content": b"{}", "headers": {"Content-Type": LONG}}),
        ("POST", "/generate", {"content": b"{}", "headers": {"Content-Encoding": LONG}}),
        ("POST", "/interpolate", {"json": {"seeds": list(range(20_000))}}),
    ],
    ids=lambda part: str(part)[:40],
)
def test_long_input_gets_a_short_error(call: Call, method: str, address: str, request_: dict[str, Any]) -> None:
    response = call(method, address, **request_)
    assert response.status_code in (400, 404, 405)
    assert_error(response, response.status_code, "")
    assert len(response.json()["error"]) <= MAX_SENTENCE
    assert len(response.content) < 3 * MAX_SENTENCE


def test_thousands_of_mistakes_are_counted_and_not_listed(call: Call) -> None:
    body = {"seeds": [1]} | {f"unknown{number}": 1 for number in range(5000)}
    response = call("POST", "/generate", json=body)
    assert_error(response, 400, "there are 5000 mistakes in this request; the fields are seeds, count, latents")


def test_a_long_list_of_etags_is_ignored(call: Call) -> None:
    etag = call("GET", "/images/7.png").headers["etag"]
    response = call("GET", "/images/7.png", headers={"If-None-Match": f'"{LONG}", {etag}'})
    assert response.status_code == 200


def test_a_chunked_body_is_refused_at_the_limit(call: Call) -> None:
    sent = 0

    async def chunks() -> Any:
        nonlocal sent
        while sent < 64 << 20:
            sent += 1 << 16
            yield b" " * (1 << 16)

    response = call("POST", "/generate", content=chunks())
    assert_error(response, 413, "the body is larger than")
    assert sent < 4 << 20  # the rest is not read


def test_a_content_length_of_thousands_of_digits_is_too_large(call: Call) -> None:
    response = call("POST", "/generate", content=b"{}", headers={"Content-Length": "9" * 5000})
    assert_error(response, 413, "the body is larger than")


def test_the_largest_latents_are_accepted(tmp_path: Path) -> None:
    (call,) = [next(serve_model(save(tiny_model(), tmp_path / "tiny.onnx"), max_images=1024, max_queue=1024))]
    body = json.dumps({"latents": [[0.123456789] * 8] * 1024, "labels": 0, "format": "npy"})
    assert len(body) > 1 << 16  # parsed off the event loop
    assert call("POST", "/generate", content=body.encode()).status_code == 200
    wrong = body.replace("0.123456789]", '"0"]', 1)
    assert_error(
        call("POST", "/generate", content=wrong.encode()), 400, "latents[0][7] does not work; latents is a list of rows"
    )


@pytest.fixture(scope="module")
def many_classes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """A model of 20,000 classes with long names."""
    path = tmp_path_factory.mktemp("model") / "many.onnx"
    yield from serve_model(save(tiny_model(classes=[f"class {number} " + "n" * 300 for number in range(20_000)]), path))


def test_an_error_of_a_model_with_many_classes_lists_some_of_them(many_classes: Call) -> None:
    for label in ("nothing of the kind", 20_000):
        response = many_classes("POST", "/generate", json={"seeds": [1], "labels": label})
        assert_error(response, 400, " and 19980 more")
        assert len(response.json()["error"]) <= MAX_SENTENCE
    found = many_classes("GET", f"/images/7.png?label=CLASS+19999+{'N' * 300}")
    assert found.headers["x-mint-labels"] == "19999"


class IterableTwice(tuple[str, ...]):
    """Names that can be iterated only twice: to index them, and to list some of them."""

    iterations_left = 2

    def __iter__(self) -> Iterator[str]:
        type(self).iterations_left -= 1
        assert self.iterations_left >= 0
        return super().__iter__()

    def __contains__(self, name: object) -> bool:
        raise AssertionError("linear search")

    def index(self, *_: object) -> int:
        raise AssertionError("linear search")


def test_class_names_are_found_without_a_linear_search() -> None:
    names = ClassNames(IterableTwice(f"class {number}" for number in range(100_000)))
    for number in range(99_000, 100_000):
        assert names.index(f"CLASS {number}") == number
    assert names.index("nothing") is None


def test_the_nearest_class_is_suggested_among_few_and_for_short_names() -> None:
    few = ClassNames(["Ankle boot", "Coat"])
    assert few.hint("Ancle boot") == 'did you mean "Ankle boot"?'
    assert few.hint("Ancle boot" * 10) == "its classes are Ankle boot, Coat"
    many = ClassNames([f"class {number}" for number in range(MAX_HINTED + 1)])
    assert many.hint("class 7x").startswith("its classes are class 0, class 1, ")


def test_class_names_are_compared_in_unicode_normal_form() -> None:
    names = ClassNames(["Cafe\u0301", "twin", "TWIN"])
    assert names.index("caf\u00e9") == 0
    assert names.index("TWIN") == 2
    assert names.index("Twin") is None  # either could be meant


def test_the_documentation_is_rendered_once(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = call_app(create_app(load_state(model_path, max_images=13)))
    first = call("GET", "/docs").text, call("GET", "/openapi.json").json()
    monkeypatch.setattr("serving.http.routes.info.openapi_document", None)
    monkeypatch.setattr("serving.http.routes.info.docs_page", None)
    assert (call("GET", "/docs").text, call("GET", "/openapi.json").json()) == first
