"""The page's pure modules, run in the browser: .npy files, latents, image specs, views."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Error, Page

from serving.http.npy_body import read_latents
from serving.inference.latents import lerp, slerp
from tests.live_service import LiveService


@pytest.fixture(scope="module")
def page(browser: Browser, service: LiveService) -> Iterator[Page]:
    """A page that can import the modules."""
    page = browser.new_page()
    page.goto(str(service.client.base_url))
    yield page
    page.close()


def call(page: Page, module: str, function: str, *arguments: Any) -> Any:
    """Calls an exported function of a module."""
    return page.evaluate(
        """async ([module, name, args]) => {
            const result = (await import(`/ui/${module}.js`))[name](...args);
            return ArrayBuffer.isView(result) ? [...result] : result;
        }""",
        [module, function, list(arguments)],
    )


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.random.RandomState(0).standard_normal((3, 5)).astype(np.float32),
        np.zeros((0, 3), np.uint8),
        np.arange(7, dtype=np.uint8),
    ],
)
def test_npy_files_from_numpy_are_parsed(page: Page, array: np.ndarray) -> None:
    shape, data = page.evaluate(
        """async bytes => {
            const { readNpy } = await import('/ui/npy.js');
            const { shape, data } = readNpy(new Uint8Array(bytes).buffer);
            return [shape, [...data]];
        }""",
        list(npy(array)),
    )
    np.testing.assert_array_equal(np.array(data, array.dtype).reshape(shape), array)


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        npy(np.zeros((2, 2))),
        npy(np.zeros((2, 3), np.uint8))[:-1],
        npy(np.asfortranarray(np.zeros((2, 3), np.uint8))),
    ],
)
def test_invalid_npy_files_are_rejected(page: Page, content: bytes) -> None:
    with pytest.raises(Error, match="the response is"):
        page.evaluate(
            "async bytes => (await import('/ui/npy.js')).readNpy(new Uint8Array(bytes).buffer).shape", list(content)
        )


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (16, 128)])
def test_written_npy_files_are_read_by_numpy_and_the_service(page: Page, shape: tuple[int, int]) -> None:
    rows = np.random.RandomState(1).standard_normal(shape).astype(np.float32)
    content = bytes(
        page.evaluate(
            """async ([numbers, shape]) => {
                const { writeNpy } = await import('/ui/npy.js');
                return [...writeNpy(Float32Array.from(numbers), shape)];
            }""",
            [rows.ravel().tolist(), list(shape)],
        )
    )
    np.testing.assert_array_equal(np.load(io.BytesIO(content)), rows)
    np.testing.assert_array_equal(read_latents(content), rows)


@pytest.mark.parametrize("name", ["slerp", "lerp"])
@pytest.mark.parametrize("t", [0, 0.1, 0.5, 0.9, 1])
def test_interpolation_agrees_with_the_service(page: Page, name: str, t: float) -> None:
    a, b = np.random.RandomState(2).standard_normal((2, 64)).astype(np.float32)
    result = call(page, "latents", name, a.tolist(), b.tolist(), t)
    np.testing.assert_allclose(result, {"slerp": slerp, "lerp": lerp}[name](a, b, t), atol=1e-6)


@pytest.mark.parametrize("scale", [1, 2, -1, 0])
def test_slerp_between_parallel_latents_is_linear(page: Page, scale: float) -> None:
    a = np.random.RandomState(3).standard_normal(8).astype(np.float32)
    result = call(page, "latents", "slerp", a.tolist(), (scale * a).tolist(), 0.25)
    np.testing.assert_allclose(result, 0.75 * a + 0.25 * scale * a, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "7",
        "4294967295:12",
        "m(7,12:3,0.25)",
        "l(m(1,2,0.5),m(3,4,0.5),0.3333)",
        "e(7,d3:0.4,p0:-1.2)",
        "e(m(e(1,d0:1),2,0.1),d12:-4,d100:4,p3:0.0001)",
    ],
)
def test_an_image_spec_survives_a_round_trip(page: Page, text: str) -> None:
    assert call(page, "image-spec", "formatSpec", call(page, "image-spec", "parseSpec", text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "x", "7:", "4294967296", "m(7,8)", "m(7,8,1.5", "e(7,q0:1)", "7 ", "m(" * 2000, "m(" * 100 + "7", "e(7,d0:)"],
)
def test_invalid_image_specs_are_rejected(page: Page, text: str) -> None:
    with pytest.raises(Error, match="picture|too large"):
        call(page, "image-spec", "parseSpec", text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model=0123456789abcdef",
        "class=3&truncation=0.65&seeds=3,7,12-20",
        "open=e(7,p0:1)&panel=edit&picks=1;2:0;m(1,2,0.5)&axis=d12",
        "open=7&panel=plane&corners=1;2;3;4&side=7&path=lerp",
        "open=7&panel=nearby&step=0.35&round=12",
        "open=7&panel=morph&steps=32&loop=no&frame=12",
    ],
)
def test_a_view_survives_a_round_trip(page: Page, text: str) -> None:
    parsed = call(page, "view", "parseView", text)
    assert parsed["problems"] == []
    assert call(page, "view", "formatView", parsed["view"]) == text


def test_a_percent_encoded_link_is_parsed(page: Page) -> None:
    parsed = call(page, "view", "parseView", "seeds=1%2C2&open=m%287%2C8%2C0.5%29&panel=picture")
    assert parsed["problems"] == []
    assert call(page, "view", "formatView", parsed["view"]) == "seeds=1-2&open=m(7,8,0.5)&panel=picture"
