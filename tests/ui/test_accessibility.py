"""Accessibility of the page: keyboard, screen reader, phone, both colour schemes."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.ui.conftest import NewExplorer
from tests.ui.explorer import Explorer

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
VIEWS = {
    "samples": "seeds=0-9",
    "picture": "seeds=0-9&open=7&picks=1;2",
    "nearby": "seeds=0-9&open=7&panel=nearby",
    "edit": "seeds=0-9&open=e(7,p0:1)&panel=edit",
    "plane": "seeds=0-9&open=7&panel=plane&corners=1;2;3;4&side=7",
    "morph": "seeds=0-9&panel=morph&picks=1;2;3",
}
CONTRAST_ONLY = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}  # the rest does not depend on the scheme
TOO_SMALL = """() => [...document.querySelectorAll('button, select, input, summary, [role=tab]')]
    .filter(each => each.checkVisibility())
    .map(each => [each.id || each.textContent || each.className, each.closest('.check') ?? each])
    .map(([name, each]) => [name, each.getBoundingClientRect()])
    .filter(([, { width, height }]) => Math.min(width, height) < 43.9)
    .map(([name, { width, height }]) => `${name}: ${width} x ${height}`)"""


@pytest.mark.parametrize(("scheme", "rules"), [("light", {}), ("dark", CONTRAST_ONLY)])
def test_axe_finds_no_violation(new_explorer: NewExplorer, scheme: str, rules: dict[str, Any]) -> None:
    explorer = new_explorer(color_scheme=scheme, reduced_motion="reduce")
    for name, view in VIEWS.items():
        explorer.open(view)
        assert_accessible(explorer, f"{name} in {scheme}", rules)
    explorer.page.keyboard.press("?")
    assert_accessible(explorer, f"help in {scheme}", rules)
    explorer.open("colour=blue")
    assert_accessible(explorer, f"a message in {scheme}", rules)


def test_a_phone_scrolls_only_vertically_and_has_large_touch_targets(new_explorer: NewExplorer) -> None:
    explorer = new_explorer(**PHONE, reduced_motion="reduce")
    for name, view in VIEWS.items():
        explorer.open(view)
        assert explorer.page.evaluate("document.documentElement.scrollWidth") == 360, name
        assert explorer.page.evaluate(TOO_SMALL) == [], name
        assert_accessible(explorer, f"{name} on a phone", {})


def assert_accessible(explorer: Explorer, where: str, rules: dict[str, Any]) -> None:
    results = Axe().run(explorer.page, options={"resultTypes": ["violations"]} | rules)
    assert results.violations_count == 0, f"{where}: {results.generate_report()}"


def test_a_phone_shows_the_inspector_in_place_of_the_sample_grid(new_explorer: NewExplorer) -> None:
    explorer = new_explorer(**PHONE).open("seeds=0-9")
    explorer.page.get_by_role("button", name="Seed 7").tap()
    expect(explorer.page.locator("#inspector")).to_be_visible()
    expect(explorer.page.locator("#samples")).to_be_hidden()
    explorer.page.get_by_role("button", name="Close the picture").tap()
    expect(explorer.page.locator("#samples")).to_be_visible()


def test_everything_can_be_done_by_keyboard(explorer: Explorer) -> None:
    explorer.open("seeds=0-20")
    page, keys = explorer.page, explorer.page.keyboard
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the pictures")).to_be_focused()
    keys.press("Enter")
    expect(page.get_by_role("button", name="Seed 0")).to_be_focused()
    columns = len(page.locator("#samples").evaluate("list => getComputedStyle(list).gridTemplateColumns").split())
    keys.press("ArrowRight")
    keys.press("ArrowDown")
    expect(explorer.cells("samples").nth(columns + 1)).to_be_focused()
    keys.press("End")
    last = explorer.cells("samples").last
    expect(last).to_be_focused()
    keys.press("p")
    expect(explorer.cells("pick-list")).to_have_count(1)
    keys.press("Enter")
    expect(page.locator("#inspector-title")).to_be_focused()
    expect(page.locator("#inspector-title")).to_contain_text("Seed 20")
    keys.press("e")
    page.locator("#tab-edit").focus()
    keys.press("ArrowRight")
    expect(page.get_by_role("tab", name="Plane")).to_be_focused()
    expect(page.locator("#panel-plane")).to_be_visible()
    keys.press("Escape")
    expect(page.locator("#inspector")).to_be_hidden()
    expect(last).to_be_focused()
    keys.press("m")
    explorer.settle()
    keys.press("k")
    expect(page.locator("#frame")).not_to_have_value("0")
    keys.press("k")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    keys.press("z")
    expect(page.locator("#inspector")).to_be_hidden()
    keys.press("y")
    expect(page.locator("#inspector")).to_be_visible()


def test_the_sample_grid_is_one_tab_stop(explorer: Explorer) -> None:
    explorer.open("seeds=0-20")
    expect(tab_stop := explorer.page.locator("#samples .cell[tabindex='0']")).to_have_count(1)
    tab_stop.focus()
    explorer.page.keyboard.press("Tab")
    expect(explorer.page.get_by_role("button", name="More")).to_be_focused()


def test_focus_is_always_visible(explorer: Explorer) -> None:
    explorer.open("seeds=0-3")
    for _ in range(12):
        explorer.page.keyboard.press("Tab")
        outline = explorer.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def test_the_help_lists_the_shortcuts_traps_the_focus_and_returns_it(explorer: Explorer) -> None:
    explorer.open("seeds=0-3")
    page = explorer.page
    page.get_by_role("button", name="Random").focus()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Help and keyboard shortcuts")
    expect(dialog).to_contain_text("Pick or unpick")
    for _ in range(8):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Random")).to_be_focused()


def test_disabled_shortcuts_stay_disabled_after_a_reload(explorer: Explorer) -> None:
    explorer.open("seeds=0-3")
    explorer.page.get_by_role("button", name="Help and keyboard shortcuts").click()
    explorer.page.get_by_label("Enable these shortcuts").uncheck()
    explorer.page.get_by_role("button", name="Close", exact=True).click()
    explorer.page.reload()
    explorer.settle()
    explorer.page.keyboard.press("m")
    expect(explorer.page.locator("#inspector")).to_be_hidden()


def test_shortcuts_do_not_act_in_a_text_field(explorer: Explorer) -> None:
    explorer.open("seeds=0-3")
    explorer.page.keyboard.press("/")
    explorer.page.keyboard.type("mr?7")
    expect(explorer.page.get_by_label("Seeds")).to_have_value("mr?7")
    expect(explorer.page.locator("#inspector")).to_be_hidden()


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
def test_the_theme_follows_the_system_until_it_is_switched(new_explorer: NewExplorer, scheme: str, other: str) -> None:
    explorer = new_explorer(color_scheme=scheme).open("seeds=0-3")
    page = explorer.page

    def background() -> int:
        red = page.evaluate("getComputedStyle(document.body).backgroundColor").split("(")[1].split(",")[0]
        return int(red)

    brightness = {"light": range(200, 256), "dark": range(60)}
    assert background() in brightness[scheme]
    page.get_by_role("button", name="Light or dark theme").click()
    assert background() in brightness[other]
    page.reload()
    explorer.settle()
    assert background() in brightness[other]
    page.get_by_role("button", name="Light or dark theme").click()
    assert background() in brightness[scheme]


def test_reduced_motion_disables_transitions(new_explorer: NewExplorer) -> None:
    explorer = new_explorer(reduced_motion="reduce").open("seeds=0-3")
    duration = "cell => getComputedStyle(cell.querySelector('canvas')).transitionDuration"
    assert explorer.cells("samples").first.evaluate(duration) == "0s"
