"""POST /generate with latents as the bytes of a .npy file."""

import io
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.http.npy_body import read_latents
from serving.inference.generator import OnnxGenerator
from tests.pixels import assert_same_pixels
from tests.serving.conftest import MAX_IMAGES, Call, assert_error

NPY = {"Content-Type": "application/x-npy"}


def npy(array: np.ndarray, **options: Any) -> bytes:
    """An array as the bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def test_latents_may_be_sent_as_npy(call: Call, generator: OnnxGenerator) -> None:
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
def test_an_invalid_npy_body_gets_a_sentence(call: Call, body: bytes, sentence: str) -> None:
    assert_error(call("POST", "/generate?labels=0", content=body, headers=NPY), 400, sentence)


def test_a_header_that_claims_terabytes_allocates_nothing() -> None:
    body = npy(np.zeros((1, 8), np.float32)).replace(b"'shape': (1, 8), }         ", b"'shape': (999999999999,8),}")
    with pytest.raises(Exception, match=r"promises 31999999999968 bytes and 32 follow"):
        read_latents(body)


def test_query_parameters_are_for_npy_bodies_only(call: Call) -> None:
    assert_error(call("POST", "/generate?format=npy", json={"seeds": [1]}), 400, "it takes no parameters")


@settings(max_examples=100)
@given(st.data())
def test_no_npy_body_causes_a_server_error(call: Call, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 9), max_size=3).map(tuple) | st.just((2, 8)))
    dtype = data.draw(st.sampled_from(["<f4", "<f4", "<f4", ">f4", "<f8", "<i4", "?", "<c8", "U3"]))
    body = bytearray(npy(np.zeros(shape, dtype)))
    for position in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=4)):
        body[position] = data.draw(st.integers(0, 255))
    response = call("POST", "/generate?labels=cat", content=bytes(body), headers=NPY)
    assert response.status_code in (200, 400), response.text
