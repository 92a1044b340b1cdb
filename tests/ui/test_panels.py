"""The inspector's panels: picture, nearby, edit, plane, morph."""

import io
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from serving.inference.latents import from_seeds, lerp, slerp
from tests.pixels import assert_same_pixels
from tests.tiny_model import CLASSES, LATENT_DIM
from tests.ui.explorer import Explorer, Pixels

Interpolate = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def inputs_of(*seeds: int) -> tuple[list[np.ndarray], list[int]]:
    """Latents and labels of seeds."""
    latents, labels = from_seeds(list(seeds), LATENT_DIM, len(CLASSES))
    return list(latents), labels.tolist()


def images(client: httpx.Client, latents: list[np.ndarray], labels: int | list[int]) -> Pixels:
    """The service's images for these latents."""
    body = {"latents": np.stack(latents).tolist(), "labels": labels, "format": "npy"}
    response = client.post("/generate", json=body)
    assert response.status_code == 200, response.text
    return np.load(io.BytesIO(response.content))


def assert_close(shown: Pixels, expected: Pixels) -> None:
    """Pixels agree within 1/255: the page computes latents in float64."""
    assert np.abs(shown.astype(int) - expected).max() <= 1


def test_a_click_opens_a_picture_with_its_seed_class_and_latent(explorer: Explorer, client: httpx.Client) -> None:
    explorer.open("seeds=5-9")
    explorer.page.get_by_role("button", name="Seed 7").click()
    explorer.settle()
    (latent,), (label,) = inputs_of(7)
    assert_close(explorer.pixels("#preview"), images(client, [latent], label)[0])
    page = explorer.page
    expect(page.locator("#inspector-title")).to_have_text(f"Seed 7, {CLASSES[label]}")
    expect(page.locator("#fact-seed")).to_have_text("7")
    expect(page.locator("#fact-class")).to_have_text(CLASSES[label])
    length = f"norm {np.linalg.norm(latent):.2f}"
    expect(page.locator("#bars")).to_have_attribute(
        "aria-label", f"Latent of the picture: 8 numbers from {latent.min():.2f} to {latent.max():.2f}, {length}"
    )
    page.get_by_text("Values").click()
    assert [float(number) for number in page.locator("#latent").inner_text().split()] == pytest.approx(latent, abs=1e-4)


def test_a_picture_is_shown_with_every_class(explorer: Explorer, client: httpx.Client) -> None:
    explorer.open("seeds=0&open=7")
    (latent,), _ = inputs_of(7)
    assert_close(explorer.pictures("every-class"), images(client, [latent] * 3, [0, 1, 2]))
    explorer.page.locator("#every-class").get_by_role("button", name="eel").click()
    expect(explorer.page.locator("#fact-class")).to_have_text("eel")


def test_a_model_without_classes_shows_none(explorer: Explorer) -> None:
    explorer.open("model=mist&seeds=0&open=7")
    expect(explorer.page.locator("#inspector-title")).to_have_text("Seed 7")
    expect(explorer.page.locator("#fact-class-row")).to_be_hidden()
    expect(explorer.page.locator("#every-class-block")).to_be_hidden()
    assert explorer.pixels("#preview").shape == (128, 128, 3)


def test_neighbours_are_small_steps_around_the_picture(explorer: Explorer, client: httpx.Client) -> None:
    explorer.open("seeds=0&open=7:1&panel=nearby&step=0.1")
    (middle, target), _ = inputs_of(7, 4_000_000_000)
    shown = explorer.pictures("neighbours")
    assert len(shown) == 9
    assert_close(shown[[4, 0]], images(client, [middle, slerp(middle, target, 0.1)], 1))
    explorer.slide("#step", 0.4)
    assert_close(explorer.pictures("neighbours")[0], images(client, [slerp(middle, target, 0.4)], 1)[0])


def test_choosing_a_neighbour_opens_it(explorer: Explorer) -> None:
    explorer.open("seeds=0&open=7:1&panel=nearby")
    neighbour = explorer.pictures("neighbours")[2]
    explorer.cells("neighbours").nth(2).click()
    explorer.settle()
    assert_same_pixels(explorer.pixels("#preview"), neighbour)
    assert_same_pixels(explorer.pictures("neighbours")[4], neighbour)


def test_others_shows_new_neighbours(explorer: Explorer) -> None:
    explorer.open("seeds=0&open=7&panel=nearby")
    before = explorer.pictures("neighbours")
    explorer.page.get_by_role("button", name="Others").click()
    explorer.settle()
    after = explorer.pictures("neighbours")
    assert_same_pixels(after[4], before[4])
    assert (after[0] != before[0]).any()


@pytest.mark.parametrize(("path", "interpolate"), [("slerp", slerp), ("lerp", lerp)])
def test_the_plane_blends_its_four_corners(
    explorer: Explorer, client: httpx.Client, path: str, interpolate: Interpolate
) -> None:
    explorer.open(f"seeds=0&open=1:0&panel=plane&corners=1:0;2:0;3:0;4:0&side=3&path={path}")
    (a, b, c, d), _ = inputs_of(1, 2, 3, 4)
    top, bottom = interpolate(a, b, 0.5), interpolate(c, d, 0.5)
    latents = [a, top, b, interpolate(a, c, 0.5), interpolate(top, bottom, 0.5), interpolate(b, d, 0.5), c, bottom, d]
    assert_close(explorer.pictures("plane"), images(client, latents, 0))


def test_a_corner_is_a_pick_the_open_picture_or_a_random_one(explorer: Explorer) -> None:
    explorer.open("seeds=0&open=1:0&panel=plane&corners=1:0;2:0;3:0;4:0&picks=9:2")
    page = explorer.page
    page.get_by_label("Top right").select_option("Pick: Seed 9, eel")
    page.get_by_label("Bottom left").select_option("Open picture: Seed 1, cat")
    explorer.settle()
    assert "corners=1:0;9:2;1:0;4:0" in explorer.view
    page.get_by_label("Top left").select_option("A random picture")
    assert "corners=1:0;9:2" not in explorer.view
    page.get_by_role("button", name="Random corners").click()
    explorer.settle()
    assert "9:2;1:0;4:0" not in explorer.view
    page.get_by_role("button", name="Corners from picks").click()
    explorer.settle()
    assert "corners=9:2;1:0;" in explorer.view


def test_a_picture_of_the_plane_opens_as_it_is(explorer: Explorer) -> None:
    explorer.open("seeds=0&open=1&panel=plane&corners=1;2;3;4")
    explorer.cells("plane").nth(7).click()
    explorer.settle()
    assert_same_pixels(explorer.pixels("#preview"), explorer.pictures("plane")[7])


def test_a_slider_adds_to_one_dimension(explorer: Explorer, client: httpx.Client) -> None:
    explorer.open("seeds=0&open=7:0&panel=edit")
    (latent,), _ = inputs_of(7)
    explorer.slide("#axis-d3", 1.5)
    moved = latent.copy()
    moved[3] += 1.5
    assert_close(explorer.pixels("#preview"), images(client, [moved], 0)[0])
    expect(explorer.page.locator("#sweep-title")).to_have_text("Sweep of dimension 3")


def test_a_slider_adds_a_principal_direction_on_top(explorer: Explorer, client: httpx.Client) -> None:
    explorer.open("seeds=0&open=e(7:0,d3:1.5)&panel=edit")
    (latent,), _ = inputs_of(7)
    explorer.slide("#axis-p1", -2)
    moved = latent.copy()
    moved[[3, 1]] += [1.5, -2]
    assert_close(explorer.pixels("#preview"), images(client, [moved], 0)[0])
    sweep = [moved + np.float32(step) * np.eye(LATENT_DIM, dtype=np.float32)[1] for step in range(-1, 6)]
    assert_close(explorer.pictures("sweep"), images(client, sweep, 0))


def test_a_picture_of_the_sweep_moves_its_slider(explorer: Explorer) -> None:
    explorer.open("seeds=0&open=7&panel=edit")
    explorer.page.get_by_role("button", name="Direction 1 at +3").click()
    explorer.settle()
    expect(explorer.page.locator("#axis-p0")).to_have_value("3")


def test_the_preview_follows_a_slider_while_it_moves(explorer: Explorer) -> None:
    explorer.open("seeds=0&open=7&panel=edit")
    before = explorer.pixels("#preview")
    view = explorer.view
    explorer.page.locator("#axis-d0").evaluate(
        "slider => { slider.value = 2; slider.dispatchEvent(new Event('input', { bubbles: true })) }"
    )
    explorer.settle()
    assert (explorer.pixels("#preview") != before).any()
    assert explorer.view == view  # not a step to undo yet


def test_reset_removes_all_edits(explorer: Explorer) -> None:
    explorer.open("seeds=0&open=7&panel=edit")
    before = explorer.pixels("#preview")
    explorer.slide("#axis-d0", 2)
    explorer.slide("#axis-p0", -3)
    explorer.page.get_by_role("button", name="Reset").click()
    explorer.settle()
    assert_same_pixels(explorer.pixels("#preview"), before)
    expect(explorer.page.locator("#axis-d0")).to_have_value("0")


def test_a_morph_leads_through_the_picks(explorer: Explorer, client: httpx.Client) -> None:
    explorer.open("seeds=0&panel=morph&picks=1:0;2:0&steps=4&loop=no")
    (a, b), _ = inputs_of(1, 2)
    expect(explorer.page.locator("#frame-value")).to_have_text("1 of 5")
    for frame, latent in enumerate([a, slerp(a, b, 0.25), slerp(a, b, 0.5), slerp(a, b, 0.75), b]):
        explorer.slide("#frame", frame)
        assert_close(explorer.pixels("#animation"), images(client, [latent], 0)[0])


def test_a_morph_plays_and_pauses(explorer: Explorer) -> None:
    explorer.open("seeds=0&panel=morph&picks=1;2;3&steps=32")
    page = explorer.page
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#frame")).not_to_have_value("0")
    page.get_by_role("button", name="Pause").click()
    paused = page.locator("#frame").input_value()
    assert f"frame={paused}" in explorer.view
    page.wait_for_timeout(200)  # more than two frames
    expect(page.locator("#frame")).to_have_value(paused)


def test_an_animation_keeps_playing_while_the_class_changes(explorer: Explorer) -> None:
    explorer.open("seeds=0-3&panel=morph&picks=1;2;3&steps=32&loop=no")
    page = explorer.page
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#frame")).not_to_have_value("0")
    page.get_by_label("Class", exact=True).select_option("dog")
    assert int(page.locator("#frame").input_value()) > 0
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_an_animation_without_loop_stops_at_its_end(explorer: Explorer) -> None:
    explorer.open("seeds=0&panel=morph&picks=1;2&steps=2&loop=no")
    explorer.page.get_by_role("button", name="Play").click()
    expect(explorer.page.locator("#frame")).to_have_value("2")
    expect(explorer.page.get_by_role("button", name="Play")).to_be_visible()


def test_a_frame_opens_as_a_picture(explorer: Explorer) -> None:
    explorer.open("seeds=0&panel=morph&picks=1;2&steps=4&frame=3")
    frame = explorer.pixels("#animation")
    explorer.page.get_by_role("button", name="Open this frame").click()
    explorer.settle()
    expect(explorer.page.locator("#inspector-title")).to_be_focused()
    assert "open=m(1,2,0.75)" in explorer.view
    assert_close(explorer.pixels("#preview"), frame)


def test_a_morph_adds_random_picks_when_there_are_too_few(explorer: Explorer) -> None:
    explorer.open("seeds=0")
    explorer.page.get_by_role("button", name="Morph").click()
    explorer.settle()
    expect(explorer.cells("pick-list")).to_have_count(3)
    assert explorer.pixels("#animation").std() > 0


def test_pictures_are_picked_and_unpicked(explorer: Explorer) -> None:
    explorer.open("seeds=0-9")
    explorer.page.get_by_role("button", name="Seed 4").click(modifiers=["Shift"])
    explorer.page.get_by_role("button", name="Seed 9").click()
    explorer.page.get_by_role("button", name="Pick", exact=True).click()
    explorer.settle()
    assert_same_pixels(explorer.pictures("pick-list"), explorer.pictures("samples")[[4, 9]])
    explorer.page.get_by_role("button", name="Picked", exact=True).click()
    expect(explorer.cells("pick-list")).to_have_count(1)
    explorer.page.get_by_role("button", name="Clear").click()
    expect(explorer.page.locator("#picks")).to_be_hidden()
