"""Number lists in headers that every proxy accepts, and tolerant parsing of bodies, labels, formats and arrays."""

import asyncio
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.types import ASGIApp

from serving.app import create_app
from serving.http.schemas import MAX_NUMBERS_LENGTH, OMITTED, numbers_from_header, numbers_to_header
from tests.pixels import assert_same_pixels
from tests.serving.conftest import Call, assert_error, call_app, load_state, serve_model
from tests.tiny_model import save, tiny_model

MAX_HEADERS = 4096  # bytes that nginx accepts for all headers of a response by default


def header_bytes(response: httpx.Response) -> int:
    return sum(len(name) + len(value) + 4 for name, value in response.headers.raw)


@pytest.fixture(scope="module")
def call_for_many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """A service with 2,000 classes and up to 1,024 images a request."""
    path = tmp_path_factory.mktemp("model") / "many.onnx"
    model = save(tiny_model(classes=[f"class {number}" for number in range(2000)]), path)
    yield from serve_model(model, max_images=1024, max_queue=4096)


def test_a_short_list_is_written_number_by_number(call: Call) -> None:
    response = call("POST", "/generate", json={"seeds": [1, 2, 3, 7], "labels": [0, 1, 2, 0]})
    assert response.headers["x-mint-seeds"] == "1,2,3,7"
    assert response.headers["x-mint-labels"] == "0,1,2,0"


@pytest.mark.parametrize(
    ("body", "seeds", "labels"),
    [
        ({"seeds": list(range(1000)), "labels": list(range(1000))}, "0-999", "0-999"),
        ({"seeds": list(range(0, 4000, 4))}, OMITTED, OMITTED),
        ({"count": 1024}, None, OMITTED),
    ],
)
def test_a_long_list_is_written_as_ranges_or_omitted(
    call_for_many: Call, body: dict[str, Any], seeds: str | None, labels: str
) -> None:
    response = call_for_many("POST", "/generate", json=body | {"format": "npy"})
    assert header_bytes(response) < MAX_HEADERS
    assert response.headers["x-mint-labels"] == labels
    if seeds is not None:
        assert response.headers["x-mint-seeds"] == seeds
    else:  # random seeds are consecutive, so that a header can list them all
        listed = numbers_from_header(response.headers["x-mint-seeds"])
        assert listed is not None
        again = call_for_many("POST", "/generate", json={"seeds": listed, "format": "npy"})
        assert_same_pixels(np.load(io.BytesIO(again.content)), np.load(io.BytesIO(response.content)))


def test_the_json_body_has_the_numbers_that_the_header_omits(call_for_many: Call) -> None:
    seeds = list(range(0, 900, 3))
    body = {"seeds": seeds, "labels": [seed % 1999 for seed in seeds], "format": "json"}
    images = call_for_many("POST", "/generate", json=body).json()["images"]
    assert [(one["seed"], one["label"]) for one in images] == [(seed, seed % 1999) for seed in seeds]


def test_the_labels_of_an_animation_are_bounded_too(call_for_many: Call) -> None:
    body = {"seeds": list(range(1000)), "labels": list(range(1999, 999, -1)), "steps": 1, "format": "npy"}
    response = call_for_many("POST", "/interpolate", json=body)
    assert response.headers["x-mint-labels"] == OMITTED
    assert header_bytes(response) < MAX_HEADERS


@settings(max_examples=50)
@given(st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 9), min_size=1, max_size=400))
def test_a_header_value_is_read_back_exactly_or_is_omitted(numbers: list[int]) -> None:
    text = numbers_to_header(numbers)
    assert len(text) <= MAX_NUMBERS_LENGTH
    assert numbers_from_header(text) in (tuple(numbers), None)
    assert numbers_from_header(numbers_to_header(list(range(numbers[0], numbers[0] + 1024)))) is not None


@pytest.mark.parametrize(
    "body",
    [b'{"seeds": [7.0]}', b'\xef\xbb\xbf{"seeds": [7]}', b'{"seeds": [7], "format": "PNG"}', b'{"seeds": [0.7e1]}'],
)
def test_equivalent_json_bodies_are_accepted(call: Call, body: bytes) -> None:
    response = call("POST", "/generate", content=body)
    assert response.headers["x-mint-seeds"] == "7"
    assert Image.open(io.BytesIO(response.content)).format == "PNG"


def test_whole_numbers_may_have_a_decimal_point(call: Call) -> None:
    body = {"seeds": [7, 8], "labels": [1.0, 2.0], "steps": 2.0, "size": 16.0, "format": "npy"}
    assert np.load(io.BytesIO(call("POST", "/interpolate", json=body).content)).shape == (3, 16, 16, 3)
    assert call("POST", "/generate", json={"count": 2.0}).status_code == 200
    assert call("GET", "/images/7.0.png?label=1").headers["x-mint-labels"] == "1"
    assert_error(call("POST", "/generate", json={"seeds": [1], "labels": 1.9}), 400, "labels = 1.9 does not work")


def test_jpg_is_accepted_for_jpeg_everywhere(call: Call) -> None:
    assert call("GET", "/images/7.JPG").headers["content-type"] == "image/jpeg"
    assert call("GET", "/images/7.jpg").headers["etag"] == call("GET", "/images/7.jpeg").headers["etag"]
    by_body = call("POST", "/generate", json={"seeds": [1], "format": "jpg"})
    by_header = call("POST", "/generate", json={"seeds": [1]}, headers={"Accept": "image/jpg"})
    assert by_body.headers["content-type"] == by_header.headers["content-type"] == "image/jpeg"


@pytest.fixture(scope="module")
def unicode_app(tmp_path_factory: pytest.TempPathFactory) -> ASGIApp:
    """A service with class names that have umlauts and a line end."""
    model = tiny_model(classes=("B\u00e4r", "F\u00fcchse", "line\nend\u202e"))
    return create_app(load_state(save(model, tmp_path_factory.mktemp("model") / "unicode.onnx")))


@pytest.fixture(scope="module")
def call_unicode(unicode_app: ASGIApp) -> Call:
    """The same, to call."""
    return call_app(unicode_app)


@pytest.mark.parametrize("label", ["B\u00e4r", "B%C3%A4r", "b%c3%a4r", "Ba%CC%88r"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_label_in_a_url_may_be_unescaped_in_utf8_or_latin1(unicode_app: ASGIApp, label: str, encoding: str) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/images/7.png", "headers": [], "client": ("127.0.0.1", 1)}
    scope["query_string"] = f"label={label}".encode(encoding)  # httpx would escape it
    asyncio.run(unicode_app(scope, receive, send))
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"x-mint-labels"]) == (200, b"0")


def test_errors_quote_letters_as_they_are_and_escape_unprintable_characters(call_unicode: Call) -> None:
    assert_error(call_unicode("GET", "/images/7.png?label=F\u00fcchs"), 400, 'did you mean "F\u00fcchse"?')
    response = call_unicode("GET", "/images/7.png?label=%0A%E2%80%AExyz")
    assert_error(
        response, 400, '"\\n\\u202exyz" is not a class of this model; its classes are B\u00e4r, F\u00fcchse, line\\nend'
    )
    assert "\u202e" not in response.text
    assert_error(call_unicode("GET", "/images/7.png?l%0A=1"), 400, '"l\\n" is not a parameter of this request')
    assert_error(call_unicode("GET", "/model?model=%0Ax"), 404, "there is no model")


JSON_BODY = b'{"seeds": [7]}'


@pytest.mark.parametrize(
    ("body", "headers", "sentence"),
    [
        (
            gzip.compress(JSON_BODY, mtime=0),
            {"Content-Encoding": "gzip"},
            "the body is compressed (Content-Encoding: gzip)",
        ),
        (gzip.compress(JSON_BODY, mtime=0), {}, "the body is not JSON (it is gzip); send it uncompressed"),
        (JSON_BODY.decode().encode("utf-16"), {}, "the body is not JSON (it is UTF-16); send UTF-8"),
        (JSON_BODY.decode().encode("utf-16-le"), {}, "the body is not JSON (it is UTF-16 or UTF-32); send UTF-8"),
        (JSON_BODY.decode().encode("utf-32-be"), {}, "the body is not JSON (it is UTF-16 or UTF-32); send UTF-8"),
        ('{"labels": "B\u00e4r"}'.encode("latin-1"), {}, "the body is not JSON (byte 13 is not UTF-8); send UTF-8"),
        (b"\x93NUMPY\x01\0", {}, "(it is a .npy file); send it with the header Content-Type: application/x-npy"),
        (b"seeds=7", {}, "the body is not JSON (expected value at line 1"),
        (JSON_BODY, {"Content-Type": "text/plain"}, "the body is sent as text/plain; send JSON with the header"),
    ],
)
def test_a_body_that_is_not_json_is_identified(call: Call, body: bytes, headers: dict[str, str], sentence: str) -> None:
    assert_error(call("POST", "/generate", content=body, headers=headers), 400, sentence)


@pytest.mark.parametrize("header", ["", " ", "; charset=utf-8", "Application/JSON; charset=utf-8"])
def test_json_is_the_default_content_type(call: Call, header: str) -> None:
    assert call("POST", "/generate", content=JSON_BODY, headers={"Content-Type": header}).status_code == 200


def npy(header: bytes, content: bytes = bytes(64)) -> bytes:
    """A .npy file with a chosen header."""
    return b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize(
    "shape",
    [
        b"(True, 8)",
        b"(1, True)",
        b"(-2, -8)",
        b"(2, -8)",
        b"(0x" + b"f" * 5000 + b", 8)",
        b"(9" + b"9" * 400 + b", 0)",
        b"((2,), 8)",
        b"(2.0, 8)",
        b"[2, 8]",
        b"None",
        b"'28'",
    ],
    ids=lambda shape: shape[:12].decode(),
)
def test_a_npy_header_with_an_invalid_shape_is_refused(call: Call, shape: bytes) -> None:
    body = npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + b", }\n")
    response = call("POST", "/generate?labels=0", content=body, headers={"Content-Type": "application/x-npy"})
    assert_error(response, 400, "the body is not a .npy file")


@pytest.mark.parametrize(
    "descr", [b"('<f4', (2,))", b"[('a', '<f4')]", b"'|O'", b"'<f2'", b"[('\xc3\xa9', '<f4')]", b"7"]
)
def test_a_npy_header_with_another_dtype_is_refused(call: Call, descr: bytes) -> None:
    body = npy(b"{'descr': " + descr + b", 'fortran_order': True, 'shape': (2, 8), }\n")
    response = call("POST", "/generate?labels=0", content=body, headers={"Content-Type": "application/x-npy"})
    assert_error(response, 400, "the body ")


def test_a_gif_is_no_longer_than_the_longest_frame(tmp_path: Path) -> None:
    call = next(serve_model(save(tiny_model(), tmp_path / "tiny.onnx"), max_images=1024, max_queue=1024))
    still = {"seeds": [7, 7], "labels": 0, "steps": 654, "fps": 1}
    animation = Image.open(io.BytesIO(call("POST", "/interpolate", json=still).content))
    assert animation.info["duration"] == 655_000
    long = call("POST", "/interpolate", json=still | {"steps": 700})
    assert_error(
        long, 400, "701 frames at 1 a second last longer than the 655 s of a GIF; ask for more frames a second"
    )
    assert call("POST", "/interpolate", json=still | {"steps": 700, "format": "webp"}).status_code == 200
