"""GET /images/{seed}.{ext}: formats, PNG metadata, sizes, caching and errors."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.encoding.images import resize
from serving.inference.generator import OnnxGenerator
from tests.pixels import assert_same_pixels
from tests.serving.conftest import Call, assert_error, serve_model


def opened(file: bytes) -> Any:
    """An image file as Pillow reads it: pixels, text, frames."""
    image = Image.open(io.BytesIO(file))
    image.load()
    return image


@pytest.mark.parametrize("extension", ["png", "jpeg", "webp"])
def test_a_seed_has_a_url_in_every_format(call: Call, generator: OnnxGenerator, extension: str) -> None:
    response = call("GET", f"/images/7.{extension}?label=dog&truncation=0.5")
    assert response.headers["content-type"] == f"image/{extension}"
    image = generator.generate([7], np.array([1]), 0.5)[0][0]
    tolerance = 60 if extension == "jpeg" else 1  # noise is the worst that jpeg can meet
    assert np.abs(np.asarray(opened(response.content)).astype(int) - image).max() <= tolerance


def test_get_and_post_return_the_same_file(call: Call) -> None:
    by_body = call("POST", "/generate", json={"seeds": [7], "labels": "eel", "truncation": 0.5})
    by_address = call("GET", "/images/7.png?label=2&truncation=0.5")
    assert opened(by_address.content).text == opened(by_body.content).text
    assert_same_pixels(opened(by_address.content), opened(by_body.content))


def test_the_metadata_of_a_png_suffice_to_generate_it_again(call: Call, generator: OnnxGenerator) -> None:
    text = opened(call("GET", "/images/7.png?label=eel&truncation=0.25").content).text
    assert text == {
        "Software": "Mint",
        "model": generator.model_id,
        "truncation": "0.25",
        "seed": "7",
        "label": "eel",
    }
    again = call("GET", "/images/{seed}.png?label={label}&truncation={truncation}&model={model}".format(**text))
    assert opened(again.content).text == text


def test_a_png_from_latents_carries_its_latent(call: Call, generator: OnnxGenerator) -> None:
    latents, _ = generator.latent_space.sample([3])
    body = {"latents": latents.tolist(), "labels": "dog", "truncation": 0.5}
    text = opened(call("POST", "/generate", json=body).content).text
    assert np.array_equal(np.frombuffer(base64.b64decode(text["latent"]), "<f4"), latents[0])
    assert "seed" not in text


def test_a_contact_sheet_lists_its_seeds_and_labels(call: Call) -> None:
    text = opened(call("POST", "/generate", json={"seeds": [5, 6], "labels": [0, 2]}).content).text
    assert (text["seeds"], text["labels"]) == ("5,6", "0,2")


@pytest.mark.parametrize("size", [8, 24, 20, 5])
def test_size_resizes_the_image(call: Call, generator: OnnxGenerator, size: int) -> None:
    image = opened(call("GET", f"/images/7.png?label=cat&size={size}").content)
    assert_same_pixels(image, resize(generator.generate([7], np.array([0]))[0], size)[0])


def test_only_urls_with_the_model_id_are_immutable(call: Call, generator: OnnxGenerator) -> None:
    by_id = call("GET", f"/images/7.png?model={generator.model_id}")
    assert by_id.headers["cache-control"] == "public, max-age=31536000, immutable"
    for address in ("/images/7.png", "/images/7.png?model=tiny"):
        response = call("GET", address)
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["etag"] == by_id.headers["etag"]
        assert_same_pixels(opened(response.content), opened(by_id.content))


def test_a_matching_etag_gets_304(call: Call) -> None:
    etag = call("GET", "/images/7.png").headers["etag"]
    for header in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        response = call("GET", "/images/7.png", headers={"If-None-Match": header})
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", etag)
    assert call("GET", "/images/7.png", headers={"If-None-Match": '"other"'}).status_code == 200


def test_an_etag_is_weak_and_the_same_on_every_server(call: Call, model_path: Path) -> None:
    others = next(serve_model(model_path, threads=2))
    here, there = (ask("GET", "/images/7.png?label=eel&size=20") for ask in (call, others))
    assert here.headers["etag"] == there.headers["etag"]
    assert here.headers["etag"].startswith('W/"')  # the bytes may differ by a library's version, a pixel by 1/255
    assert_same_pixels(opened(here.content), opened(there.content))


def test_every_input_that_changes_the_image_changes_the_etag(call: Call) -> None:
    same = "/images/7.png?label=0"
    others = [
        "/images/8.png?label=0",
        "/images/7.webp?label=0",
        *(f"{same}&{more}" for more in ("truncation=0.5", "size=16")),
    ]
    responses = [call("GET", address) for address in (same, "/images/7.png?label=1", *others)]
    assert len({response.headers["etag"] for response in responses}) == len(responses)
    assert len({response.content for response in responses}) == len(responses)


def test_urls_with_equal_etags_have_equal_images(call: Call) -> None:
    first, *others = (
        call("GET", f"/images/{path}")
        for path in (
            "7.jpg?label=0",
            "7.jpeg?label=cat&truncation=1.0",
            "7.0.JPG?label=CAT",
            "7.jpg?label=0&model=tiny",
        )
    )
    for other in others:
        assert other.headers["etag"] == first.headers["etag"]
        assert_same_pixels(opened(other.content), opened(first.content))


@pytest.mark.parametrize(
    ("address", "status", "sentence"),
    [
        ("/images/seven.png", 400, "seven is not a seed; seeds are whole numbers from 0 to 4294967295"),
        ("/images/4294967296.png", 400, "4294967296 is not a seed"),
        ("/images/7.gif", 400, ".gif is not made here; ask for .png, .jpeg or .webp"),
        ("/images/7.png?label=bird", 400, '"bird" is not a class of this model; its classes are cat, dog, eel'),
        ("/images/7.png?truncation=nan", 400, 'truncation = "nan" does not work; truncation is a number from 0'),
        ("/images/7.png?size=0", 400, 'size = "0" does not work; size is the longer side in pixels, from 1 to 2048'),
        ("/images/7.png?size=2049", 400, 'size = "2049" does not work'),
        ("/images/7.png?sise=8", 400, '"sise" is not a parameter of this request; did you mean "size"?'),
        ("/images/7.png?size=8&size=9", 400, "size is given more than once in the address; give it once"),
        ("/images/7.png?model=large", 404, 'there is no model "large" here; the models are tiny'),
        ("/images/7", 404, "there is nothing at /images/7"),
    ],
)
def test_an_invalid_url_gets_a_sentence(call: Call, address: str, status: int, sentence: str) -> None:
    assert_error(call("GET", address), status, sentence)
