"""Links, undo and redo: every view can be restored."""

import pytest
from playwright.sync_api import expect

from tests.pixels import assert_same_pixels
from tests.ui.conftest import NewExplorer
from tests.ui.explorer import Explorer

EDITED = "e(m(7,12:2,0.35),d2:0.7,p0:-1.4)"


def test_a_link_restores_the_whole_view_in_another_browser(new_explorer: NewExplorer) -> None:
    first = new_explorer()
    first.open("seeds=3,7,12-20")
    page = first.page
    page.get_by_label("Class", exact=True).select_option("dog")
    page.get_by_role("button", name="Seed 7").click()
    page.get_by_role("button", name="Pick", exact=True).click()
    first.show_panel("Nearby")
    first.cells("neighbours").nth(1).click()
    first.show_panel("Edit")
    first.slide("#axis-p0", 1.3)
    first.slide("#axis-d5", -0.7)
    first.slide("#truncation", 0.65)
    page.get_by_role("button", name="Pick", exact=True).click()
    first.settle()

    second = new_explorer().open(first.view)
    assert second.view == first.view
    assert page.locator("#inspector-title").inner_text() == second.page.locator("#inspector-title").inner_text()
    assert_same_pixels(second.pixels("#preview"), first.pixels("#preview"))
    for gallery in ("samples", "sweep", "pick-list"):
        assert_same_pixels(second.pictures(gallery), first.pictures(gallery))


@pytest.mark.parametrize(
    ("view", "gallery"),
    [
        (f"seeds=0&open={EDITED}&panel=nearby&step=0.3&round=4", "neighbours"),
        (f"seeds=0&open=1&panel=plane&corners=1;{EDITED};m(3,4,0.5);9:1&side=7&path=lerp", "plane"),
        (f"truncation=0.4&seeds=0&open={EDITED}&panel=picture", "every-class"),
    ],
)
def test_a_link_restores_a_panel(explorer: Explorer, view: str, gallery: str) -> None:
    explorer.open(view)
    assert explorer.view.endswith(view)
    shown, preview = explorer.pictures(gallery), explorer.pixels("#preview")
    explorer.open(explorer.view)
    assert_same_pixels(explorer.pictures(gallery), shown)
    assert_same_pixels(explorer.pixels("#preview"), preview)


def test_a_link_restores_a_frame_of_a_morph(explorer: Explorer) -> None:
    explorer.open(f"seeds=0&panel=morph&picks=1;{EDITED};9:1&path=lerp&steps=8&loop=no&frame=11")
    frame = explorer.pixels("#animation")
    explorer.open(explorer.view)
    assert_same_pixels(explorer.pixels("#animation"), frame)
    expect(explorer.page.locator("#frame-value")).to_have_text("12 of 17")


def test_undo_and_redo_step_through_every_change(explorer: Explorer) -> None:
    explorer.open("seeds=0-9")
    page = explorer.page
    undo, redo = page.get_by_role("button", name="Undo"), page.get_by_role("button", name="Redo")
    expect(undo).to_be_disabled()
    before = explorer.pictures("samples")
    page.get_by_label("Class", exact=True).select_option("eel")
    explorer.slide("#truncation", 0.5)
    page.get_by_role("button", name="Seed 4").click()
    explorer.settle()
    after, preview = explorer.pictures("samples"), explorer.pixels("#preview")

    for _ in range(3):
        view = explorer.view
        undo.click()
        page.wait_for_url(lambda url, view=view: not url.endswith(view))
    explorer.settle()
    expect(page.locator("#inspector")).to_be_hidden()
    expect(undo).to_be_disabled()
    assert_same_pixels(explorer.pictures("samples"), before)

    for _ in range(3):
        view = explorer.view
        redo.click()
        page.wait_for_url(lambda url, view=view: not url.endswith(view))
    expect(redo).to_be_disabled()
    explorer.settle()
    assert_same_pixels(explorer.pictures("samples"), after)
    assert_same_pixels(explorer.pixels("#preview"), preview)


def test_a_change_after_undo_discards_the_redo_steps(explorer: Explorer) -> None:
    explorer.open("seeds=0-9")
    page = explorer.page
    page.get_by_label("Class", exact=True).select_option("eel")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Class", exact=True)).to_have_value("")
    page.get_by_label("Class", exact=True).select_option("dog")
    expect(page.get_by_role("button", name="Redo")).to_be_disabled()


def test_the_browsers_back_button_is_undo(explorer: Explorer) -> None:
    explorer.open("seeds=0-9")
    explorer.page.get_by_role("button", name="Seed 4").click()
    expect(explorer.page.locator("#inspector")).to_be_visible()
    explorer.page.go_back()
    expect(explorer.page.locator("#inspector")).to_be_hidden()


def test_a_link_pasted_into_the_same_tab_is_followed(explorer: Explorer) -> None:
    explorer.open("seeds=0-9")
    explorer.page.evaluate("location.hash = 'seeds=5'")
    expect(explorer.cells("samples")).to_have_count(1)
    expect(explorer.page.get_by_role("button", name="Undo")).to_be_enabled()


@pytest.mark.parametrize(
    ("view", "sentence"),
    [
        ("open=nonsense&seeds=1", "open: "),
        ("class=77&seeds=1", "this model has different classes"),
        ("open=7:9&seeds=1", "this model has different classes"),
        ("picks=e(7,p9:1)&seeds=1", "this model has different classes or directions"),
        ("colour=blue&seeds=1", "colour: there is no such parameter"),
        ("truncation=2&seeds=1", "truncation: it must be 0 to 1"),
    ],
)
def test_parts_of_a_link_that_cannot_be_shown_are_named(explorer: Explorer, view: str, sentence: str) -> None:
    explorer.open(view)
    expect(explorer.page.locator("#message")).to_contain_text("Not all of this link could be shown")
    expect(explorer.page.locator("#message")).to_contain_text(sentence)


def test_a_link_to_a_removed_model_shows_the_current_one(explorer: Explorer) -> None:
    explorer.open("model=0123456789abcdef&seeds=1-3")
    expect(explorer.page.locator("#message")).to_contain_text("model 0123456789abcdef is no longer served")
    expect(explorer.cells("samples")).to_have_count(3)
    assert "0123456789abcdef" not in explorer.view
    explorer.problems.clear()  # the browser logs the expected 404


def test_the_link_dialog_shows_the_address_and_copies_it(new_explorer: NewExplorer) -> None:
    explorer = new_explorer(permissions=["clipboard-read", "clipboard-write"]).open("seeds=1-3&open=2")
    explorer.page.get_by_role("button", name="Link to this view").click()
    expect(explorer.page.get_by_label("Text to copy")).to_have_value(explorer.page.url)
    explorer.page.get_by_role("button", name="Copy").click()
    expect(explorer.page.get_by_role("button", name="Copied")).to_be_visible()
    assert explorer.page.evaluate("navigator.clipboard.readText()") == explorer.page.url
