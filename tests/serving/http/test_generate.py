"""POST /generate: every source of images in every format, and a sentence for every error."""

import asyncio
import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.app import create_app
from serving.encoding.images import contact_sheet
from serving.http.schemas import MEDIA_TYPES
from serving.http.state import AppState
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import Images
from serving.settings import Settings
from tests.pixels import assert_same_pixels
from tests.serving.busy_model import BusyModel
from tests.serving.conftest import MAX_IMAGES, Call, assert_error, call_app, load_state

SEEDS = [7, 8, 7]


def pixels_of(file: bytes) -> Images:
    """The pixels [H, W, C] of an image file."""
    return np.asarray(Image.open(io.BytesIO(file)))


def test_one_seed_is_one_png(call: Call, generator: OnnxGenerator) -> None:
    response = call("POST", "/generate", json={"seeds": [7]})
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-mint-seeds"] == "7"
    assert response.headers["x-mint-model"] == generator.model_id
    assert_same_pixels(pixels_of(response.content), generator.generate([7])[0][0])


@pytest.mark.parametrize("format", ["png", "webp"])
def test_several_seeds_are_one_contact_sheet(call: Call, generator: OnnxGenerator, format: str) -> None:
    response = call("POST", "/generate", json={"seeds": SEEDS, "format": format})
    assert_same_pixels(pixels_of(response.content), contact_sheet(generator.generate(SEEDS)[0]))


def test_jpeg_has_the_size_of_the_contact_sheet(call: Call) -> None:
    response = call("POST", "/generate", json={"seeds": SEEDS, "format": "jpeg"})
    assert response.headers["content-type"] == "image/jpeg"
    assert pixels_of(response.content).shape == (18, 18, 3)


def test_npy_is_the_array_of_all_images(call: Call, generator: OnnxGenerator) -> None:
    response = call("POST", "/generate", json={"seeds": SEEDS, "format": "npy"})
    assert_same_pixels(np.load(io.BytesIO(response.content), allow_pickle=False), generator.generate(SEEDS)[0])


def test_zip_names_each_image_by_its_seed(call: Call, generator: OnnxGenerator) -> None:
    response = call("POST", "/generate", json={"seeds": SEEDS, "format": "zip"})
    images, _ = generator.generate(SEEDS)
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == ["seed-7.png", "seed-8.png", "seed-7-2.png"]
        for name, image in zip(archive.namelist(), images, strict=True):
            assert_same_pixels(pixels_of(archive.read(name)), image)


def test_json_has_the_seed_and_class_of_each_image(call: Call, generator: OnnxGenerator) -> None:
    body = call("POST", "/generate", json={"seeds": SEEDS, "labels": ["eel", 0, "DOG"], "format": "json"}).json()
    images, _ = generator.generate(SEEDS, np.array([2, 0, 1]))
    assert body["model_id"] == generator.model_id
    assert [(one["seed"], one["label"], one["class_name"]) for one in body["images"]] == [
        (7, 2, "eel"),
        (8, 0, "cat"),
        (7, 1, "dog"),
    ]
    for one, image in zip(body["images"], images, strict=True):
        assert_same_pixels(pixels_of(base64.b64decode(one["png"])), image)


def test_the_latents_in_json_reproduce_their_images(call: Call) -> None:
    options = {"truncation": 0.5, "format": "json"}
    first = call("POST", "/generate", json={"seeds": [7], **options}).json()["images"][0]
    body = {"latents": [first["latent"]], "labels": first["label"], **options}
    again = call("POST", "/generate", json=body).json()["images"][0]
    assert_same_pixels(pixels_of(base64.b64decode(again["png"])), pixels_of(base64.b64decode(first["png"])))
    assert again["latent"] == first["latent"]


def test_random_seeds_are_returned_and_reproduce_their_images(call: Call) -> None:
    first = call("POST", "/generate", json={"count": 3, "format": "npy"})
    seeds = [int(seed) for seed in first.headers["x-mint-seeds"].split(",")]
    again = call("POST", "/generate", json={"seeds": seeds, "format": "npy"})
    assert len(set(seeds)) == 3
    assert_same_pixels(np.load(io.BytesIO(first.content)), np.load(io.BytesIO(again.content)))
    assert first.headers["x-mint-labels"] == again.headers["x-mint-labels"]


def test_latents_are_truncated_only_on_request(call: Call, generator: OnnxGenerator) -> None:
    latents, labels = generator.latent_space.sample([1, 2], np.array([1, 1]))
    body: dict[str, Any] = {"latents": latents.tolist(), "labels": "dog", "format": "npy"}
    exact = call("POST", "/generate", json=body)
    assert "x-mint-seeds" not in exact.headers
    assert_same_pixels(np.load(io.BytesIO(exact.content)), generator.images(latents, labels))
    average = call("POST", "/generate", json=body | {"truncation": 0})
    assert_same_pixels(np.load(io.BytesIO(average.content)), generator.images(np.zeros((2, 8)), labels))


def test_a_grey_model_without_classes_gives_grey_images(
    call_without_classes: Call, generator_without_classes: OnnxGenerator
) -> None:
    response = call_without_classes("POST", "/generate", json={"seeds": [7]})
    assert "x-mint-labels" not in response.headers
    assert_same_pixels(pixels_of(response.content), generator_without_classes.generate([7])[0][0, :, :, 0])
    body = call_without_classes("POST", "/generate", json={"latents": [[0] * 8], "format": "json"}).json()
    assert [body["images"][0][key] for key in ("seed", "label", "class_name")] == [None, None, None]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        *((media_type, media_type) for media_type in MEDIA_TYPES.values()),
        ("*/*", "image/png"),
        ("", "image/png"),
        ("image/*", "image/png"),
        ("IMAGE/WEBP", "image/webp"),
        ("image/webp,image/apng,*/*;q=0.8", "image/webp"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/html, image/jpeg;q=0.5, application/zip;q=0.9", "application/zip"),
        ("image/png;q=0, image/*", "image/jpeg"),
        ("image/png;q=oops, application/x-npy;q=0.1", "application/x-npy"),
    ],
)
def test_accept_chooses_the_format(call: Call, accept: str, media_type: str) -> None:
    response = call("POST", "/generate", json={"seeds": [1]}, headers={"Accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (200, media_type)


def test_format_in_the_body_wins_over_accept(call: Call) -> None:
    response = call("POST", "/generate", json={"seeds": [1], "format": "webp"}, headers={"Accept": "image/png"})
    assert response.headers["content-type"] == "image/webp"


def test_an_unsatisfiable_accept_header_gets_the_list_of_media_types(call: Call) -> None:
    response = call("POST", "/generate", json={"seeds": [1]}, headers={"Accept": "text/html"})
    assert_error(response, 400, "ask for image/png, image/jpeg, image/webp, application/json")


@pytest.mark.parametrize(
    ("body", "sentence", "loc"),
    [
        ({"seeds": [1], "count": 2}, "exactly one of seeds, count and latents; this body has seeds and count", None),
        ({"labels": "cat"}, "exactly one of seeds, count and latents; this body has none of them", None),
        (
            {"seeds": list(range(10_000))},
            "seeds has more than 1024 entries, which no request may; seeds is a list of whole numbers",
            ["seeds"],
        ),
        ({"seeds": list(range(MAX_IMAGES + 1))}, f"for {MAX_IMAGES} images and this one is for more", ["seeds"]),
        ({"count": MAX_IMAGES + 1}, f"a request may be for {MAX_IMAGES} images", ["count"]),
        ({"count": 10**100}, f"a request may be for {MAX_IMAGES} images", ["count"]),
        ({"count": 0}, "count = 0 does not work; count is the number of images", ["count"]),
        ({"count": True}, "count = true does not work", ["count"]),
        ({"seeds": []}, "seeds = [] does not work; seeds is a list of whole numbers", ["seeds"]),
        ({"seeds": 7}, "seeds = 7 does not work; seeds is a list of whole numbers", ["seeds"]),
        ({"seeds": [1, True]}, "seeds[1] = true does not work", ["seeds", 1]),
        ({"seeds": [1, -1]}, "seeds[1] = -1 does not work", ["seeds", 1]),
        ({"seeds": [2**32]}, "seeds[0] = 4294967296 does not work", ["seeds", 0]),
        ({"seeds": [1.5]}, "seeds[0] = 1.5 does not work", ["seeds", 0]),
        ({"latents": [[0] * 7], "labels": 0}, "latents[0] has 7 numbers and this model takes 8", ["latents", 0]),
        ({"latents": [[0] * 8, [0] * 9], "labels": 0}, "latents[1] has 9 numbers", ["latents", 1]),
        ({"latents": [[0] * 8]}, "need labels; this model's classes are cat, dog, eel", ["labels"]),
        ({"latents": [[1e39] * 8], "labels": 0}, "latents[0][0] is not a finite 32-bit number", ["latents", 0, 0]),
        ({"latents": [[]]}, "latents[0] = [] does not work", ["latents", 0]),
        ({"latents": [["0"] * 8]}, 'latents[0][0] = "0" does not work', ["latents", 0, 0]),
        ({"seeds": [1], "labels": "dgo"}, '"dgo" is not a class of this model; did you mean "dog"?', ["labels"]),
        ({"seeds": [1], "labels": "xyz"}, "its classes are cat, dog, eel", ["labels"]),
        ({"seeds": [1], "labels": 3}, "label 3 is not a class of this model; its labels are 0 to 2", ["labels"]),
        ({"seeds": [1], "labels": [0, 1]}, "there are 2 labels for 1 images", ["labels"]),
        ({"seeds": [1], "labels": [0, None]}, "labels[1] = null does not work", ["labels", 1]),
        ({"seeds": [1], "labels": False}, "labels = false does not work", ["labels"]),
        (
            {"seeds": [1], "truncation": 1.1},
            "truncation = 1.1 does not work; truncation is a number from 0",
            ["truncation"],
        ),
        ({"seeds": [1], "format": "gif"}, 'format = "gif" does not work; format is one of png, jpeg', ["format"]),
        ({"seed": [1]}, '"seed" is not a field of this request; did you mean "seeds"?', ["seed"]),
        ({"seeds": [1], "zzz": 1}, '"zzz" is not a field of this request; the fields are seeds', ["zzz"]),
        ([7], 'the body must be a JSON object such as {"seeds": [7]}', None),
    ],
)
def test_an_invalid_field_gets_a_sentence_with_the_remedy(
    call: Call, body: Any, sentence: str, loc: list[str | int] | None
) -> None:
    response = call("POST", "/generate", json=body)
    assert_error(response, 400, sentence)
    assert [problem["loc"] for problem in response.json()["detail"]] == ([loc] if loc else [])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the body is not JSON"),
        (b'{"seeds": [7]', "the body is not JSON (EOF while parsing"),
        (b"\xff\xfe", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON (recursion limit exceeded"),
        (b'{"seeds": [' + b"9" * 5000 + b"]}", "the body is not JSON (number out of range"),
        (b'{"latents": [[NaN, 0, 0, 0, 0, 0, 0, 0]], "labels": 0}', "latents[0][0] = NaN does not work"),
        (b'{"latents": [[0, -Infinity, 0, 0, 0, 0, 0, 0]], "labels": 0}', "latents[0][1] = -Infinity does not work"),
        (b'{"latents": [[1e999, 0, 0, 0, 0, 0, 0, 0]], "labels": 0}', "latents[0][0] = Infinity does not work"),
    ],
)
def test_invalid_json_gets_a_sentence(call: Call, content: bytes, sentence: str) -> None:
    assert_error(call("POST", "/generate", content=content), 400, sentence)


def test_a_body_of_another_content_type_is_refused(call: Call) -> None:
    response = call("POST", "/generate", data={"seeds": "7"})
    assert_error(response, 400, "send JSON with the header Content-Type: application/json")


def test_a_body_above_the_limit_is_refused(call: Call) -> None:
    assert_error(call("POST", "/generate", content=b" " * (2 << 20)), 413, "the body is larger than")


def test_labels_are_refused_by_a_model_without_classes(call_without_classes: Call) -> None:
    response = call_without_classes("POST", "/generate", json={"seeds": [1], "labels": 0})
    assert_error(response, 400, "this model has no classes; leave labels out")


def test_a_full_queue_responds_429_with_retry_after(model_path: Path) -> None:
    state = load_state(model_path, max_images=1, max_queue=1)

    async def two() -> list[httpx.Response]:
        busy = BusyModel(state.batcher, state.models.get())
        await busy.wait_until_running()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(state)), base_url="http://mint"
        ) as client:
            refused = await client.post("/generate", json={"seeds": [1]})
            await busy.finish()
            return [refused, await client.post("/generate", json={"seeds": [1]})]

    refused, made = asyncio.run(two())
    assert made.status_code == 200
    assert_error(refused, 429, "1 images are waiting already; try again in 1 s")
    assert refused.headers["retry-after"] == "1"
    state.batcher.close()


def test_without_a_model_the_service_is_not_ready() -> None:
    response = call_app(create_app(AppState(Settings())))("POST", "/generate", json={"seeds": [1]})
    assert_error(response, 503, "the model is still loading; try again in a moment")


def mostly_valid_bodies() -> st.SearchStrategy[Any]:
    """Objects with valid fields and values from valid to absurd."""
    numbers = st.integers() | st.floats() | st.booleans() | st.none()
    json_values = st.recursive(
        numbers | st.text(max_size=8),
        lambda of: st.lists(of, max_size=4) | st.dictionaries(st.text(max_size=8), of),
        max_leaves=8,
    )
    latents = st.lists(st.lists(st.floats(width=32) | numbers, min_size=7, max_size=9), max_size=3)
    fields = {
        "seeds": st.lists(st.integers(-1, 2**32), max_size=MAX_IMAGES + 1) | json_values,
        "count": st.integers(-1, MAX_IMAGES + 1) | json_values,
        "latents": latents | json_values,
        "labels": st.sampled_from(["cat", "Dog", "bird", 0, 2, 3, [0], ["eel", 1]]) | json_values,
        "truncation": st.floats(-0.5, 1.5) | json_values,
        "format": st.sampled_from([*MEDIA_TYPES, "gif", None]) | json_values,
        "other": json_values,
    }
    return st.fixed_dictionaries({}, optional=fields) | json_values


@settings(max_examples=100)
@given(body=mostly_valid_bodies().map(json.dumps).map(str.encode) | st.binary(max_size=64))
def test_no_body_causes_a_server_error(call: Call, body: bytes) -> None:
    response = call("POST", "/generate", content=body)
    assert response.status_code in (200, 400)
    if response.status_code == 400:
        assert_error(response, 400, "")
