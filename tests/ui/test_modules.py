"""The page's pure modules, in the browser: arrays, latents, recipes, the text of a view."""

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
    """A page on which modules can be imported."""
    page = browser.new_page()
    page.goto(str(service.client.base_url))
    yield page
    page.close()


def call(page: Page, module: str, function: str, *arguments: Any) -> Any:
    """What an exported function of a module returns."""
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
def test_what_numpy_writes_is_read(page: Page, array: np.ndarray) -> None:
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
def test_what_is_no_array_of_pixels_is_refused(page: Page, content: bytes) -> None:
    with pytest.raises(Error, match="the answer is"):
        page.evaluate(
            "async bytes => (await import('/ui/npy.js')).readNpy(new Uint8Array(bytes).buffer).shape", list(content)
        )


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (16, 128)])
def test_what_the_page_writes_is_read_by_numpy_and_by_the_service(page: Page, shape: tuple[int, int]) -> None:
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
def test_blends_are_those_of_the_service(page: Page, name: str, t: float) -> None:
    a, b = np.random.RandomState(2).standard_normal((2, 64)).astype(np.float32)
    here = call(page, "latents", name, a.tolist(), b.tolist(), t)
    np.testing.assert_allclose(here, {"slerp": slerp, "lerp": lerp}[name](a, b, t), atol=1e-6)


@pytest.mark.parametrize("scale", [1, 2, -1, 0])
def test_between_parallel_latents_the_arc_is_a_line(page: Page, scale: float) -> None:
    a = np.random.RandomState(3).standard_normal(8).astype(np.float32)
    here = call(page, "latents", "slerp", a.tolist(), (scale * a).tolist(), 0.25)
    np.testing.assert_allclose(here, 0.75 * a + 0.25 * scale * a, atol=1e-6)


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
def test_a_recipe_is_read_as_it_was_written(page: Page, text: str) -> None:
    assert call(page, "recipes", "writeRecipe", call(page, "recipes", "readRecipe", text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "x", "7:", "4294967296", "m(7,8)", "m(7,8,1.5", "e(7,q0:1)", "7 ", "m(" * 2000, "m(" * 100 + "7", "e(7,d0:)"],
)
def test_what_is_no_recipe_is_refused(page: Page, text: str) -> None:
    with pytest.raises(Error, match="recipe|too large"):
        call(page, "recipes", "readRecipe", text)


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
def test_a_view_is_read_as_it_was_written(page: Page, text: str) -> None:
    read = call(page, "state", "readView", text)
    assert read["problems"] == []
    assert call(page, "state", "writeView", read["view"]) == text


def test_a_link_that_a_messenger_has_escaped_is_read_all_the_same(page: Page) -> None:
    read = call(page, "state", "readView", "seeds=1%2C2&open=m%287%2C8%2C0.5%29&panel=picture")
    assert read["problems"] == []
    assert call(page, "state", "writeView", read["view"]) == "seeds=1-2&open=m(7,8,0.5)&panel=picture"
