"""Page of a run: written from the files in reports/, one file that works offline."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from tests.browser import chromium
from training import paths
from training.doctor.advice import ADVICE
from training.json_lines import append_line
from training.run_page import collect, write_page

KIMG = (10.0, 20.0, 40.0)  # of the sample grids
PROBES = 20
END = 400.0  # kimg of the budget


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a run: probes that get better, curves, sample grids in grey levels of their own, and two events."""
    monkeypatch.chdir(tmp_path)
    for probe in range(1, PROBES + 1):
        row = {"kimg": 10.0 * probe, "kid": 0.5 / probe, "kid_std": 0.01, "diversity": 0.9, "recall": 0.5}
        append_line(paths.PROBES, row)
    for name in ("d_loss", "g_loss", "d_real", "d_fake"):
        table = paths.TRAIN_REPORT / "plots" / "metrics" / f"{name}.tsv"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(f"step\t{name}\n" + "".join(f"{step}\t0.{step + 1}\n" for step in range(9)))
    paths.SAMPLES.mkdir(parents=True)
    for index, kimg in enumerate(KIMG):
        Image.fromarray(np.full((8, 8), 60 * index, np.uint8)).save(paths.SAMPLES / f"kimg-{kimg:010.3f}.jpg")
    finding = {"name": "mode collapse", "since": 30.0, "confidence": 0.75, "evidence": ["kid 0.4"]}
    act = {"failure": "mode collapse", "rung": "slower", "values": {"train.generator_lr": 5e-4}, "back_to": 20.0}
    append_line(paths.EVENTS, {"kimg": 40.0, "event": "diagnosis"} | finding)
    append_line(paths.EVENTS, {"kimg": 40.0, "event": "act"} | act)
    return tmp_path


def test_the_page_shows_state_next_steps_curves_and_events(run: Path) -> None:
    page = collect("dcgan on 64 images", END)
    assert (page.state, page.kimg) == ("healthy", 200.0)
    assert any("at the end of this run expect" in step for step in page.next_steps)
    assert [chart.alt for chart in page.charts][:2] == ["KID of the probes", "variety of the images"]
    diagnosis, act = page.events
    assert diagnosis.title == "mode collapse (confidence 75%)"
    assert ADVICE["mode collapse"].meaning in diagnosis.details
    assert act.details == "went on from the weights of 20 kimg, and set train.generator_lr = 0.0005"


def test_the_page_requests_nothing_and_its_slider_shows_each_sample_grid(run: Path, browser: Browser) -> None:
    write_page(Path("elsewhere.html"), "dcgan on 64 images", END)
    page = browser.new_page(viewport={"width": 390, "height": 844})
    requested: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: None if request.url.startswith("data:") else requested.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    address = Path("elsewhere.html").absolute().as_uri()
    page.goto(address)
    assert requested == [address]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert all(page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)"))
    slider, label = page.locator("input[type=range]"), page.locator("output")
    shown = []
    for index, kimg in reversed(list(enumerate(KIMG))):
        assert slider.input_value() == str(index)
        assert label.inner_text() == f"{kimg:g}"
        shown.append(page.locator("#grid").get_attribute("src"))
        slider.press("ArrowLeft")
    assert len(set(shown)) == len(KIMG)
    assert problems == []
    page.close()


def test_equal_files_make_equal_pages(run: Path) -> None:
    for name in ("a.html", "b.html"):
        write_page(Path(name), "dcgan on 64 images", END)
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()


def test_a_run_without_probes_has_a_page_that_says_so_and_names_are_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_page(Path("page.html"), "<script>alert(1)</script>", END)
    text = Path("page.html").read_text()
    assert "there are too few probes" in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text


def test_a_broken_measurement_leaves_a_gap(run: Path) -> None:
    append_line(paths.PROBES, {"kimg": 210.0, "exploded": 1.0})
    assert "explosion" in collect("dcgan", END).state
    assert json.loads(paths.PROBES.read_text().splitlines()[-1])["exploded"] == 1.0
