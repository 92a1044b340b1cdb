"""The sample grid and the controls above it."""

import io
import itertools
import re

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from serving.inference.latents import MAX_SEED
from tests.pixels import assert_same_pixels
from tests.ui.explorer import Explorer, Pixels


def images(client: httpx.Client, **fields: object) -> Pixels:
    """The service's images for a request with these fields."""
    response = client.post("/generate", json={"format": "npy"} | fields)
    assert response.status_code == 200, response.text
    return np.load(io.BytesIO(response.content))


def test_one_request_fills_the_grid(explorer: Explorer, client: httpx.Client) -> None:
    explorer.open()
    [request] = explorer.requests_to("/generate")
    assert request.post_data_json["format"] == "npy"
    expect(explorer.cells("samples")).to_have_count(48)
    assert_same_pixels(explorer.pictures("samples"), images(client, seeds=list(range(48))))


def test_every_picture_shows_its_seed_and_class(explorer: Explorer, client: httpx.Client) -> None:
    name = client.post("/generate", json={"seeds": [7], "format": "json"}).json()["images"][0]["class_name"]
    explorer.open()
    expect(explorer.page.get_by_role("button", name=f"Seed 7, {name}", exact=True)).to_have_text(f"7 {name}")


def test_the_class_select_sets_the_class_of_every_picture(explorer: Explorer, client: httpx.Client) -> None:
    explorer.open()
    explorer.page.get_by_label("Class", exact=True).select_option("dog")
    explorer.settle()
    assert_same_pixels(explorer.pictures("samples", 6), images(client, seeds=list(range(6)), labels="dog"))
    expect(explorer.page.get_by_role("button", name="Seed 5, dog")).to_be_visible()
    explorer.page.get_by_label("Class", exact=True).select_option("Each seed's own class")
    explorer.settle()
    assert_same_pixels(explorer.pictures("samples", 6), images(client, seeds=list(range(6))))


def test_truncation_moves_the_pictures_toward_the_average(explorer: Explorer, client: httpx.Client) -> None:
    explorer.open("class=1")
    explorer.slide("#truncation", 0.5)
    expected = images(client, seeds=list(range(6)), labels=1, truncation=0.5)
    assert_same_pixels(explorer.pictures("samples", 6), expected)
    explorer.slide("#truncation", 0)
    one, *others = explorer.pictures("samples", 6)
    assert all((one == other).all() for other in others)


def test_a_dragged_slider_has_one_request_in_flight_and_the_latest_wins(
    explorer: Explorer, client: httpx.Client
) -> None:
    explorer.open("seeds=0-5")
    explorer.page.evaluate("performance.clearResourceTimings()")
    explorer.page.locator("#truncation").evaluate(
        """slider => { for (let value = 0.9; value > 0.3; value -= 0.05) {
            slider.value = value; slider.dispatchEvent(new Event('input')); } }"""
    )
    explorer.slide("#truncation", 0.3)
    assert_same_pixels(explorer.pictures("samples"), images(client, seeds=list(range(6)), truncation=0.3))
    requests = explorer.page.evaluate(
        """performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/generate'))
            .map(({ startTime, responseEnd }) => [startTime, responseEnd])"""
    )
    assert 2 <= len(requests) < 13
    assert all(start >= previous_end for (_, previous_end), (start, _) in itertools.pairwise(requests))


def test_typed_seeds_are_shown(explorer: Explorer, client: httpx.Client) -> None:
    explorer.open()
    seeds = explorer.page.get_by_label("Seeds")
    seeds.fill("3, 7 12-14")
    seeds.press("Enter")
    explorer.settle()
    expect(explorer.cells("samples")).to_have_count(5)
    expect(seeds).to_have_value("3,7,12-14")
    assert_same_pixels(explorer.pictures("samples"), images(client, seeds=[3, 7, 12, 13, 14]))


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("seven", '"seven" is not a seed'),
        ("9-3", "9-3 runs backwards; write 3-9"),
        (f"{MAX_SEED + 1}", f"the largest is {MAX_SEED}"),
        ("0-5000", "more than 480 seeds"),
        (" ", "write one seed or more"),
    ],
)
def test_invalid_seeds_are_explained_at_the_field(explorer: Explorer, typed: str, sentence: str) -> None:
    explorer.open("seeds=1-3")
    seeds = explorer.page.get_by_label("Seeds")
    seeds.fill(typed)
    seeds.press("Enter")
    expect(explorer.page.get_by_role("alert")).to_contain_text(sentence)
    expect(seeds).to_have_attribute("aria-invalid", "true")
    expect(explorer.cells("samples")).to_have_count(3)


def test_more_requests_only_the_missing_pictures(explorer: Explorer, client: httpx.Client) -> None:
    explorer.open("seeds=0-9")
    explorer.page.get_by_role("button", name="More").click()
    explorer.settle()
    assert explorer.requests_to("/generate")[-1].post_data_json["seeds"] == list(range(10, 58))
    expect(explorer.cells("samples")).to_have_count(58)
    assert_same_pixels(explorer.pictures("samples"), images(client, seeds=list(range(58))))


def test_random_shows_new_seeds_each_time(explorer: Explorer) -> None:
    explorer.open()
    views = {explorer.view}
    for _ in range(2):
        explorer.page.get_by_role("button", name="Random").click()
        explorer.settle()
        views.add(explorer.view)
        expect(explorer.cells("samples")).to_have_count(48)
    assert len(views) == 3


def test_another_model_is_chosen_by_its_name(explorer: Explorer, client: httpx.Client) -> None:
    explorer.open("class=2")
    explorer.page.get_by_label("Model").select_option("mist")
    expect(explorer.page.locator("#subtitle")).to_have_text("mist, 128 x 128")
    explorer.settle()
    expect(explorer.page.locator("#class-field")).to_be_hidden()
    assert_same_pixels(explorer.pictures("samples", 2), images(client, seeds=[0, 1], model="mist"))
    expect(explorer.page.get_by_role("button", name=re.compile("^Seed 1$"))).to_be_visible()
    explorer.page.get_by_role("button", name="Undo").click()
    expect(explorer.page.get_by_label("Class", exact=True)).to_have_value("2")


def test_small_pictures_are_pixelated_and_large_ones_smooth(explorer: Explorer) -> None:
    explorer.open("seeds=0")
    rendering = "canvas => getComputedStyle(canvas).imageRendering"
    canvas = explorer.page.locator("#samples canvas")
    assert canvas.evaluate(rendering) == "pixelated"
    explorer.page.get_by_label("Model").select_option("mist")
    expect(explorer.page.locator("#subtitle")).to_contain_text("mist")
    explorer.settle()
    assert canvas.evaluate(rendering) == "auto"
