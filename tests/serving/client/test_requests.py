"""Requests of both clients: each method returns the service's result or raises a one-sentence error."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.client import Generated, ServerError
from serving.errors import InputError, MintError
from serving.http.auth import key_hash
from serving.inference.generator import OnnxGenerator
from tests.live_service import live_service
from tests.pixels import assert_same_pixels
from tests.serving.client.calls import BOTH_CLIENTS, KEY, CallClient
from tests.serving.client.scripted_server import ERROR, scripted_server

MAX_IMAGES = 8


@pytest.fixture(scope="module")
def url(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a service with the tiny model, which requires a key."""
    home = tmp_path_factory.mktemp("service")
    with live_service(model_path, home, MINT_API_KEYS=key_hash(KEY), MINT_MAX_IMAGES=str(MAX_IMAGES)) as service:
        yield str(service.client.base_url)


def decode(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)))


@BOTH_CLIENTS
def test_seeds_labels_and_truncation_give_the_models_images(
    call_client: CallClient, url: str, generator: OnnxGenerator
) -> None:
    generated: Generated = call_client(url, "generate", np.array([5, 3]), labels=["EEL", 0], truncation=0.5)
    expected, _ = generator.generate([5, 3], np.array([2, 0]), 0.5)
    assert_same_pixels(generated.images, expected)
    assert generated.images.dtype == np.uint8
    assert (generated.seeds, generated.labels) == ((5, 3), (2, 0))
    assert generated.model_id == generator.model_id


@BOTH_CLIENTS
def test_arguments_may_be_numpy_values(call_client: CallClient, url: str, generator: OnnxGenerator) -> None:
    generated: Generated = call_client(
        url, "generate", np.array([5.0, 3.0]), labels=np.array([2, 0], np.uint8), truncation=np.float32(0.5)
    )
    assert (generated.seeds, generated.labels) == ((5, 3), (2, 0))
    assert len(call_client(url, "generate", count=np.int64(2), labels=np.int64(1)).images) == 2
    assert (
        Image.open(io.BytesIO(call_client(url, "image", np.uint32(7), size=np.int16(16), format="jpg"))).format
        == "JPEG"
    )
    frames = call_client(
        url, "interpolate", format="npy", seeds=np.arange(2), steps=np.int8(2), loop=np.True_, labels=np.str_("cat")
    )
    assert len(frames) == 4
    latents, _ = generator.latent_space.sample([1])
    assert call_client(url, "generate", latents=latents.astype(np.float64), labels=np.array("eel")).labels == (2,)


@BOTH_CLIENTS
def test_random_images_come_with_their_seeds(call_client: CallClient, url: str) -> None:
    generated: Generated = call_client(url, "generate", count=3)
    assert len(generated.seeds) == 3
    repeated: Generated = call_client(url, "generate", generated.seeds)
    assert_same_pixels(repeated.images, generated.images)
    assert repeated.labels == generated.labels


@BOTH_CLIENTS
def test_latents_give_the_models_images(call_client: CallClient, url: str, generator: OnnxGenerator) -> None:
    latents, _ = generator.latent_space.sample([1, 2])
    generated: Generated = call_client(
        url, "generate", latents=latents.tolist(), labels=["dog", 2], truncation=0.25, model="tiny"
    )
    assert_same_pixels(generated.images, generator.images(generator.latent_space.truncate(latents, 0.25), [1, 2]))
    assert (generated.seeds, generated.labels) == (None, (1, 2))


@BOTH_CLIENTS
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_one_image_is_a_file_of_the_requested_size(
    call_client: CallClient, url: str, generator: OnnxGenerator, format: str
) -> None:
    content = call_client(url, "image", 7, label="dog", size=16, format=format, model=generator.model_id)
    assert Image.open(io.BytesIO(content)).format == format.upper()
    expected, _ = generator.generate([7], np.array([1]))
    if format != "jpeg":  # lossy
        assert_same_pixels(decode(content), expected[0].repeat(2, axis=0).repeat(2, axis=1))


@BOTH_CLIENTS
def test_an_interpolation_is_frames_an_animation_or_a_strip(
    call_client: CallClient, url: str, generator: OnnxGenerator
) -> None:
    latents, _ = generator.latent_space.sample([1, 2])
    frames = call_client(url, "interpolate", format="npy", seeds=range(1, 3), labels="cat", steps=4)
    assert len(frames) == 5
    assert_same_pixels(frames[[0, 4]], generator.images(latents, [0, 0]))
    from_latents = call_client(url, "interpolate", format="npy", latents=latents, labels=0, steps=4, path="slerp")
    assert_same_pixels(from_latents, frames)
    animation = call_client(url, "interpolate", seeds=[1, 2], labels="cat", steps=2, loop=True, size=32, fps=10)
    assert Image.open(io.BytesIO(animation)).format == "GIF"
    assert Image.open(io.BytesIO(animation)).size == (32, 32)
    strip = decode(call_client(url, "interpolate", format="png", seeds=[1, 2], labels="cat", steps=4))
    assert strip.shape[1] > 4 * strip.shape[0]


@BOTH_CLIENTS
def test_models_are_described(call_client: CallClient, url: str, generator: OnnxGenerator) -> None:
    model = call_client(url, "model")
    assert model.card == generator.card
    assert (model.name, model.sha256) == ("tiny", generator.sha256)
    assert model.limits.max_images == MAX_IMAGES
    assert call_client(url, "model", generator.model_id) == model
    assert [(model.name, model.default) for model in call_client(url, "models").models] == [("tiny", True)]


@BOTH_CLIENTS
@pytest.mark.parametrize(
    ("status", "sentence", "loc", "options"),
    [
        (400, 'did you mean "dog"?', ["labels"], {"seeds": [1], "labels": "doge"}),
        (400, f"a request may be for {MAX_IMAGES} images", ["seeds"], {"seeds": range(MAX_IMAGES + 1)}),
        (404, 'there is no model "tinny" here', None, {"seeds": [1], "model": "tinny"}),
        (401, "needs a key", None, {"seeds": [1], "key": None}),
        (403, "this key is not known", None, {"seeds": [1], "key": "another"}),
    ],
)
def test_an_error_response_raises_with_the_services_sentence(
    call_client: CallClient, url: str, status: int, sentence: str, loc: list[str] | None, options: dict[str, Any]
) -> None:
    with pytest.raises(ServerError) as raised:
        call_client(url, "generate", **options)
    assert raised.value.status == status
    assert sentence in str(raised.value)
    assert raised.value.sentence == str(raised.value)
    if loc is not None:
        assert raised.value.detail[0].loc == loc
    assert isinstance(raised.value, MintError)


@BOTH_CLIENTS
@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("generate", {}, "exactly one of seeds, count, latents; you gave none of them"),
        ("generate", {"seeds": [1], "count": 2}, "you gave seeds and count"),
        ("interpolate", {"seeds": [1, 2], "latents": [[0.0], [1.0]]}, "you gave seeds and latents"),
        ("generate", {"latents": [1.0, 2.0]}, "latents are rows of finite numbers"),
        ("generate", {"latents": [[np.nan]]}, "latents are rows of finite numbers"),
        ("generate", {"latents": [[1e300]]}, "latents are rows of finite numbers"),
        ("generate", {"latents": [[1.0], [1.0, 2.0]]}, "latents are rows of finite numbers"),
        ("generate", {"latents": "rows"}, "latents are rows of finite numbers"),
        ("generate", {"seeds": [7.9]}, "seeds: 7.9 is not a whole number"),
        ("generate", {"seeds": ["7"]}, "seeds: '7' is not a number"),
        ("generate", {"seeds": "123"}, "seeds is a list of whole numbers"),
        ("generate", {"seeds": 7}, "seeds is a list of whole numbers"),
        ("generate", {"seeds": [1], "labels": [1.9]}, "labels: 1.9 is not a whole number"),
        ("generate", {"seeds": [1], "labels": "\ud800"}, "this request cannot be written"),
        ("generate", {"count": 2.5}, "count: 2.5 is not a whole number"),
        ("generate", {"seeds": [1], "truncation": np.nan}, "truncation: 'nan' is not a number"),
        ("generate", {"seeds": [1], "model": 7}, "model: '7' is not a text"),
        ("image", {"seed": 7.5}, "seed: 7.5 is not a whole number"),
        ("image", {"seed": 7, "format": "bmp"}, "no format 'bmp' here; choose one of png, jpeg, webp"),
        ("interpolate", {"seeds": [1, 2], "format": "mp3"}, "no format 'mp3' here; choose one of gif"),
        ("interpolate", {"seeds": [1, 2], "steps": 1.5}, "steps: 1.5 is not a whole number"),
    ],
)
def test_invalid_arguments_are_not_sent(
    call_client: CallClient, method: str, options: dict[str, Any], sentence: str
) -> None:
    with scripted_server((500, {}, ERROR)) as server:
        with pytest.raises(InputError, match=sentence):
            call_client(server.url, method, **options)
        assert len(server.paths) == 0
