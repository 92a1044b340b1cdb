"""POST /interpolate: keyframes, curves, formats and errors."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.http.routes.interpolate import MAX_ANIMATION_PIXELS
from serving.http.schemas import ANIMATION_MEDIA_TYPES
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import Images, interpolate
from tests.pixels import assert_same_pixels
from tests.serving.conftest import MAX_IMAGES, Call, assert_error


def pixels_of(file: bytes) -> Images:
    """The pixels [H, W, C] of an image file."""
    return np.asarray(Image.open(io.BytesIO(file)))


def animation_frames(content: bytes) -> Images:
    """The frames of an animation, uint8 [N, H, W, 3]."""
    file = Image.open(io.BytesIO(content))
    frames = []
    for index in range(file.n_frames):  # type: ignore[attr-defined]
        file.seek(index)
        frames.append(np.asarray(file.convert("RGB")))
    return np.stack(frames)


def test_an_animation_passes_through_its_keyframes(call: Call, generator: OnnxGenerator) -> None:
    body = {"seeds": [7, 8, 9], "labels": ["cat", "dog", "eel"], "steps": 4, "format": "npy"}
    response = call("POST", "/interpolate", json=body)
    frames, nearest = interpolate(generator.latent_space.sample([7, 8, 9])[0], 4)
    assert_same_pixels(np.load(io.BytesIO(response.content)), generator.images(frames, nearest))
    assert response.headers["x-mint-labels"] == "0,0,1,1,1,1,2,2,2"
    assert response.headers["x-mint-model"] == generator.model_id


def test_latents_lerp_loop_and_truncation(call: Call, generator: OnnxGenerator) -> None:
    keyframes, _ = generator.latent_space.sample([7, 8])
    body = {"latents": keyframes.tolist(), "labels": 1, "steps": 3, "path": "lerp", "loop": True, "truncation": 0.5}
    response = call("POST", "/interpolate", json=body | {"format": "npy"})
    frames, _ = interpolate(keyframes, 3, "lerp", loop=True)
    images = generator.images(generator.latent_space.truncate(frames, 0.5), np.ones(6, int))
    assert_same_pixels(np.load(io.BytesIO(response.content)), images)


def test_an_animation_has_the_same_frames_in_every_format(call: Call) -> None:
    body = {"seeds": [7, 8], "steps": 3, "size": 16}
    exact = np.load(io.BytesIO(call("POST", "/interpolate", json=body | {"format": "npy"}).content))
    assert exact.shape == (4, 16, 16, 3)
    assert_same_pixels(animation_frames(call("POST", "/interpolate", json=body | {"format": "webp"}).content), exact)
    assert animation_frames(call("POST", "/interpolate", json=body).content).shape == exact.shape  # gif, of 256 colours
    strip = pixels_of(call("POST", "/interpolate", json=body, headers={"Accept": "image/png"}).content)
    assert_same_pixels(strip[:, :16], exact[0])


@pytest.mark.parametrize(("format", "media_type"), ANIMATION_MEDIA_TYPES.items())
def test_accept_chooses_the_format_of_an_animation(call: Call, format: str, media_type: str) -> None:
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
def test_an_invalid_field_of_an_animation_gets_a_sentence(call: Call, body: Any, sentence: str) -> None:
    assert_error(call("POST", "/interpolate", json=body), 400, sentence)
