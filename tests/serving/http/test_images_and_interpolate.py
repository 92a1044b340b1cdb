"""Images by their address, films, and latents as arrays: the routes beside the JSON of POST /generate."""

import base64
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.encoding.images import resize
from serving.http.npy_body import read_latents
from serving.http.routes.interpolate import MAX_ANIMATION_PIXELS
from serving.http.schemas import ANIMATION_MEDIA_TYPES
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import Images, interpolate
from tests.pixels import assert_same_pixels
from tests.serving.conftest import MAX_IMAGES, Call, assert_error, serve_model

NPY = {"Content-Type": "application/x-npy"}


def opened(file: bytes) -> Any:
    """An image file, as Pillow shows it: pixels, text, frames."""
    image = Image.open(io.BytesIO(file))
    image.load()
    return image


def npy(array: np.ndarray, **options: Any) -> bytes:
    """An array as the bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


# GET /images/{seed}.{ext}


@pytest.mark.parametrize("extension", ["png", "jpeg", "webp"])
def test_a_seed_has_an_address_in_every_format(call: Call, generator: OnnxGenerator, extension: str) -> None:
    response = call("GET", f"/images/7.{extension}?label=dog&truncation=0.5")
    assert response.headers["content-type"] == f"image/{extension}"
    image = generator.generate([7], np.array([1]), 0.5)[0][0]
    tolerance = 60 if extension == "jpeg" else 1  # noise is the worst that jpeg can meet
    assert np.abs(np.asarray(opened(response.content)).astype(int) - image).max() <= tolerance


def test_the_address_and_the_body_make_the_same_file(call: Call) -> None:
    by_body = call("POST", "/generate", json={"seeds": [7], "labels": "eel", "truncation": 0.5})
    by_address = call("GET", "/images/7.png?label=2&truncation=0.5")
    assert opened(by_address.content).text == opened(by_body.content).text
    assert_same_pixels(opened(by_address.content), opened(by_body.content))


def test_a_saved_png_says_how_to_make_it_again(call: Call, generator: OnnxGenerator) -> None:
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
def test_size_scales_the_picture(call: Call, generator: OnnxGenerator, size: int) -> None:
    image = opened(call("GET", f"/images/7.png?label=cat&size={size}").content)
    assert_same_pixels(image, resize(generator.generate([7], np.array([0]))[0], size)[0])


def test_a_cache_keeps_an_image_for_ever_only_by_the_id_of_its_model(call: Call, generator: OnnxGenerator) -> None:
    by_id = call("GET", f"/images/7.png?model={generator.model_id}")
    assert by_id.headers["cache-control"] == "public, max-age=31536000, immutable"
    for address in ("/images/7.png", "/images/7.png?model=tiny"):
        response = call("GET", address)
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["etag"] == by_id.headers["etag"]
        assert_same_pixels(opened(response.content), opened(by_id.content))


def test_an_image_at_hand_is_not_sent_again(call: Call) -> None:
    etag = call("GET", "/images/7.png").headers["etag"]
    for header in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        response = call("GET", "/images/7.png", headers={"If-None-Match": header})
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", etag)
    assert call("GET", "/images/7.png", headers={"If-None-Match": '"other"'}).status_code == 200


def test_an_etag_is_weak_and_names_the_picture_wherever_it_is_made(call: Call, model_path: Path) -> None:
    others = next(serve_model(model_path, threads=2))
    here, there = (ask("GET", "/images/7.png?label=eel&size=20") for ask in (call, others))
    assert here.headers["etag"] == there.headers["etag"]
    assert here.headers["etag"].startswith('W/"')  # the bytes may differ by a library's version, a pixel by 1/255
    assert_same_pixels(opened(here.content), opened(there.content))


def test_whatever_changes_the_picture_changes_its_etag(call: Call) -> None:
    same = "/images/7.png?label=0"
    others = [
        "/images/8.png?label=0",
        "/images/7.webp?label=0",
        *(f"{same}&{more}" for more in ("truncation=0.5", "size=8")),
    ]
    etags = [call("GET", address).headers["etag"] for address in (same, "/images/7.png?label=1", *others)]
    assert len(set(etags)) == len(etags)
    assert call("GET", "/images/7.png?label=cat&truncation=1.0").headers["etag"] == etags[0]


@pytest.mark.parametrize(
    ("address", "status", "sentence"),
    [
        ("/images/seven.png", 400, "seven is not a seed; seeds are whole numbers from 0 to 4294967295"),
        ("/images/4294967296.png", 400, "4294967296 is not a seed"),
        ("/images/7.gif", 400, ".gif is not made here; ask for .png, .jpeg or .webp"),
        ("/images/7.png?label=bird", 400, '"bird" is not a class of this model; its classes are cat, dog, eel'),
        ("/images/7.png?truncation=nan", 400, 'truncation = "nan" does not work; truncation is a number from 0'),
        ("/images/7.png?size=0", 400, 'size = "0" does not work; size is the side in pixels, from 1 to 2048'),
        ("/images/7.png?size=2049", 400, 'size = "2049" does not work'),
        ("/images/7.png?sise=8", 400, '"sise" is not a parameter of this request; did you mean "size"?'),
        ("/images/7.png?size=8&size=9", 400, "size is given more than once in the address; give it once"),
        ("/images/7.png?model=large", 404, 'there is no model "large" here; the models are tiny'),
        ("/images/7", 404, "there is nothing at /images/7"),
    ],
)
def test_a_mistake_in_an_address_is_answered_in_words(call: Call, address: str, status: int, sentence: str) -> None:
    assert_error(call("GET", address), status, sentence)


# POST /generate with a .npy body


def test_latents_may_come_as_an_array(call: Call, generator: OnnxGenerator) -> None:
    latents, _ = generator.latent_space.sample([1, 2])
    address = "/generate?labels=dog&labels=2&truncation=0.5&format=npy&model=tiny"
    response = call("POST", address, content=npy(latents), headers=NPY)
    images = generator.images(generator.latent_space.truncate(latents, 0.5), np.array([1, 2]))
    assert_same_pixels(np.load(io.BytesIO(response.content)), images)
    turned = call("POST", address, content=npy(np.asfortranarray(latents)), headers=NPY)
    assert_same_pixels(np.load(io.BytesIO(turned.content)), images)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body is not a .npy file"),
        (b"\x93NUMPY\x01\x00", "the body is not a .npy file"),
        (npy(np.zeros((1, 8))), "the body holds float64; send latents.astype(numpy.float32)"),
        (npy(np.zeros((1, 8), ">f4")), "the body holds >f4"),
        (npy(np.array([[None]]), allow_pickle=True), "the body holds Python objects"),
        (pickle.dumps([1, 2]), "the body is not a .npy file"),
        (npy(np.zeros(8, np.float32)), "the body has the shape [8]; send latents of shape [N, latent_dim]"),
        (npy(np.zeros((0, 8), np.float32)), "the body has the shape [0, 8]"),
        (npy(np.zeros((1, 7), np.float32)), "the latents have the shape [1, 7] and this model takes [N, 8]"),
        (npy(np.full((1, 8), np.nan, np.float32)), "latents[0][0] is not a finite 32-bit number"),
        (npy(np.zeros((2, 8), np.float32))[:-4], "the body's header promises 64 bytes and 60 follow"),
        (npy(np.zeros((1, 8), np.float32)).replace(b"(1, 8), ", b"(9**9,8)"), "the body is not a .npy file"),
        (npy(np.zeros((1, 8), np.float32)).replace(b"(1, 8), } ", b"(10**9, 8)"), "the body is not a .npy file"),
        (npy(np.zeros((MAX_IMAGES + 1, 8), np.float32)), f"a request may be for {MAX_IMAGES} images"),
    ],
)
def test_an_array_that_is_no_latents_is_answered_in_words(call: Call, body: bytes, sentence: str) -> None:
    assert_error(call("POST", "/generate?labels=0", content=body, headers=NPY), 400, sentence)


def test_a_header_that_promises_terabytes_costs_nothing() -> None:
    body = npy(np.zeros((1, 8), np.float32)).replace(b"'shape': (1, 8), }         ", b"'shape': (999999999999,8),}")
    with pytest.raises(Exception, match=r"promises 31999999999968 bytes and 32 follow"):
        read_latents(body)


def test_parameters_go_with_arrays_only(call: Call) -> None:
    assert_error(call("POST", "/generate?format=npy", json={"seeds": [1]}), 400, "it takes no parameters")


@settings(max_examples=100)
@given(st.data())
def test_no_array_makes_the_server_fail(call: Call, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 9), max_size=3).map(tuple) | st.just((2, 8)))
    dtype = data.draw(st.sampled_from(["<f4", "<f4", "<f4", ">f4", "<f8", "<i4", "?", "<c8", "U3"]))
    body = bytearray(npy(np.zeros(shape, dtype)))
    for position in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=4)):
        body[position] = data.draw(st.integers(0, 255))
    response = call("POST", "/generate?labels=cat", content=bytes(body), headers=NPY)
    assert response.status_code in (200, 400), response.text


# POST /interpolate


def film_frames(content: bytes) -> Images:
    """The frames of an animation, uint8 [N, H, W, 3]."""
    file = Image.open(io.BytesIO(content))
    frames = []
    for index in range(file.n_frames):  # type: ignore[attr-defined]
        file.seek(index)
        frames.append(np.asarray(file.convert("RGB")))
    return np.stack(frames)


def test_a_film_leads_from_stop_to_stop(call: Call, generator: OnnxGenerator) -> None:
    body = {"seeds": [7, 8, 9], "labels": ["cat", "dog", "eel"], "steps": 4, "format": "npy"}
    response = call("POST", "/interpolate", json=body)
    frames, nearest = interpolate(generator.latent_space.sample([7, 8, 9])[0], 4)
    assert_same_pixels(np.load(io.BytesIO(response.content)), generator.images(frames, nearest))
    assert response.headers["x-mint-labels"] == "0,0,1,1,1,1,2,2,2"
    assert response.headers["x-mint-model"] == generator.model_id


def test_latents_straight_lines_loops_and_truncation(call: Call, generator: OnnxGenerator) -> None:
    stops, _ = generator.latent_space.sample([7, 8])
    body = {"latents": stops.tolist(), "labels": 1, "steps": 3, "path": "lerp", "loop": True, "truncation": 0.5}
    response = call("POST", "/interpolate", json=body | {"format": "npy"})
    frames, _ = interpolate(stops, 3, "lerp", loop=True)
    images = generator.images(generator.latent_space.truncate(frames, 0.5), np.ones(6, int))
    assert_same_pixels(np.load(io.BytesIO(response.content)), images)


def test_every_format_of_a_film(call: Call) -> None:
    body = {"seeds": [7, 8], "steps": 3, "size": 16}
    exact = np.load(io.BytesIO(call("POST", "/interpolate", json=body | {"format": "npy"}).content))
    assert exact.shape == (4, 16, 16, 3)
    assert_same_pixels(film_frames(call("POST", "/interpolate", json=body | {"format": "webp"}).content), exact)
    assert film_frames(call("POST", "/interpolate", json=body).content).shape == exact.shape  # gif, of 256 colours
    strip = opened(call("POST", "/interpolate", json=body, headers={"Accept": "image/png"}).content)
    assert_same_pixels(np.asarray(strip)[:, :16], exact[0])


@pytest.mark.parametrize(("format", "media_type"), ANIMATION_MEDIA_TYPES.items())
def test_accept_chooses_the_format_of_a_film(call: Call, format: str, media_type: str) -> None:
    response = call("POST", "/interpolate", json={"seeds": [1, 2], "steps": 2}, headers={"Accept": media_type})
    assert (response.status_code, response.headers["content-type"]) == (200, media_type)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            {"seeds": [1]},
            "seeds = [1] does not work; seeds is a list of whole numbers from 0 to 4294967295, two or more",
        ),
        ({}, "give exactly one of seeds and latents; this body has none of them"),
        ({"seeds": [1, 2], "latents": [[0] * 8] * 2}, "this body has seeds and latents"),
        ({"seeds": [1, 2], "steps": MAX_IMAGES}, f"a request may be for {MAX_IMAGES} images and this one is for more"),
        ({"seeds": [1, 2], "steps": 10**30}, f"a request may be for {MAX_IMAGES} images"),
        ({"seeds": [1, 2], "steps": 0}, "steps = 0 does not work; steps is the number of frames"),
        ({"seeds": [1, 2], "path": "arc"}, 'path = "arc" does not work; path is slerp'),
        ({"seeds": [1, 2], "fps": 0.5}, "fps = 0.5 does not work; fps is the number of frames a second, from 1 to 50"),
        ({"seeds": [1, 2], "loop": 1}, "loop = 1 does not work; loop is true or false"),
        ({"seeds": [1, 2], "steps": 2, "labels": [0, 1, 2]}, "there are 3 labels for 2 images"),
        (
            {"seeds": [1, 2], "steps": 15, "size": 2048},
            f"are more than {MAX_ANIMATION_PIXELS} pixels; ask for a smaller size",
        ),
        ({"latents": [[0] * 8, [0] * 7], "steps": 2, "labels": 0}, "latents[1] has 7 numbers and this model takes 8"),
        ({"seeds": [1, 2], "step": 4}, '"step" is not a field of this request; did you mean "steps"?'),
    ],
)
def test_a_mistake_in_a_film_is_answered_with_what_to_change(call: Call, body: Any, sentence: str) -> None:
    assert_error(call("POST", "/interpolate", json=body), 400, sentence)


def test_a_json_answer_gives_latents_that_make_the_same_image_again(call: Call) -> None:
    asked = {"truncation": 0.5, "format": "json"}
    first = call("POST", "/generate", json={"seeds": [7], **asked}).json()["images"][0]
    body = {"latents": [first["latent"]], "labels": first["label"], **asked}
    again = call("POST", "/generate", json=body).json()["images"][0]
    assert_same_pixels(opened(base64.b64decode(again["png"])), opened(base64.b64decode(first["png"])))
    assert again["latent"] == first["latent"]
