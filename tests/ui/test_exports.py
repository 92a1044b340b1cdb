"""What is taken away: files, and curl commands that make the same pictures."""

import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Route

from tests.pixels import assert_same_pixels
from tests.ui.explorer import Explorer


def download(explorer: Explorer, button: str) -> tuple[str, bytes]:
    """The name and content of the file that a button downloads."""
    with explorer.page.expect_download() as found:
        explorer.page.locator(button).click()
    return found.value.suggested_filename, found.value.path().read_bytes()


def run_curl(explorer: Explorer, button: str, folder: Path) -> Image.Image:
    """The picture that the command behind a button makes in a shell."""
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    explorer.page.locator(button).click()
    command = explorer.page.get_by_label("Text to copy").input_value()
    subprocess.run(["sh", "-c", command], cwd=folder, check=True, capture_output=True, timeout=300)
    [file] = folder.iterdir()
    return Image.open(file)


def pixels_of(picture: Image.Image) -> np.ndarray:
    return np.array(picture.convert("RGB"))


@pytest.mark.parametrize(
    "view",
    ["open=7", "open=7:2&truncation=0.5", "open=e(m(7,12,0.35),d2:0.7,p0:-1.4)&truncation=0.8", "model=mist&open=3"],
)
def test_a_picture_as_png_and_by_curl_is_the_picture_that_is_shown(
    explorer: Explorer, view: str, tmp_path: Path
) -> None:
    explorer.open(f"seeds=0&{view}")
    shown = explorer.pixels("#stage")
    name, content = download(explorer, "#picture-export [data-format=png]")
    assert name.endswith(".png")
    assert_same_pixels(pixels_of(Image.open(io.BytesIO(content))), shown)
    assert_same_pixels(pixels_of(run_curl(explorer, "#picture-export [data-format=curl]", tmp_path)), shown)


def test_a_downloaded_png_says_how_it_was_made(explorer: Explorer) -> None:
    explorer.open("seeds=0&open=7:2&truncation=0.5")
    _, content = download(explorer, "#picture-export [data-format=png]")
    text = Image.open(io.BytesIO(content)).text
    assert text["seed"] == "7"
    assert text["truncation"] == "0.5"
    assert text["model"] in explorer.view
    assert "label" in text


def test_the_sheet_as_zip_holds_a_png_for_every_seed(explorer: Explorer) -> None:
    explorer.open("seeds=0-9,30&class=1")
    name, content = download(explorer, "#sheet-export [data-format=zip]")
    assert name == "mint-sheet.zip"
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.namelist() == [f"seed-{seed}.png" for seed in [*range(10), 30]]
    shown = explorer.pictures("sheet")
    for picture, file in zip(shown, archive.namelist(), strict=True):
        assert_same_pixels(pixels_of(Image.open(io.BytesIO(archive.read(file)))), picture)


def test_the_sheet_as_png_and_by_curl_is_one_contact_sheet(explorer: Explorer, tmp_path: Path) -> None:
    explorer.open("seeds=0-9")
    _, content = download(explorer, "#sheet-export [data-format=png]")
    sheet = Image.open(io.BytesIO(content))
    assert sheet.text["seeds"] == ",".join(map(str, range(10)))
    assert_same_pixels(pixels_of(run_curl(explorer, "#sheet-export [data-format=curl]", tmp_path)), pixels_of(sheet))


@pytest.mark.parametrize(("panel", "count"), [("nearby", 9), ("plane", 25)])
def test_a_panel_as_zip_holds_its_pictures(explorer: Explorer, panel: str, count: int) -> None:
    explorer.open(f"seeds=0&open=7&panel={panel}&corners=1;2;3;4")
    _, content = download(explorer, f"#{panel}-export [data-format=zip]")
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert len(archive.namelist()) == count
    first = Image.open(io.BytesIO(archive.read(archive.namelist()[0])))
    gallery = {"nearby": "neighbours", "plane": "plane"}[panel]
    assert_same_pixels(pixels_of(first), explorer.pictures(gallery)[0])


def test_a_morph_as_gif_and_by_curl_is_the_film_that_is_shown(explorer: Explorer, tmp_path: Path) -> None:
    explorer.open("seeds=0&panel=morph&picks=1;m(2,5,0.4);3:1&steps=8")
    name, content = download(explorer, "#morph-export [data-format=gif]")
    film = Image.open(io.BytesIO(content))
    assert (name, film.format, film.n_frames) == ("mint-morph.gif", "GIF", 24)
    assert film.info["loop"] == 0
    assert film.size == (256, 256)
    again = run_curl(explorer, "#morph-export [data-format=curl]", tmp_path)
    assert again.n_frames == 24
    assert np.abs(pixels_of(again).astype(int) - pixels_of(film)).mean() < 8  # a palette may turn on 1/255


def test_a_curl_command_for_a_service_with_keys_sends_the_shells_key(explorer: Explorer) -> None:
    def with_keys(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers=answer.headers | {"vary": "Origin, Authorization"})

    explorer.page.route("**/model*", with_keys)
    explorer.open("seeds=0&open=7")
    for button in ("#picture-export", "#sheet-export"):
        explorer.page.locator(f"{button} [data-format=curl]").click()
        command = explorer.page.get_by_label("Text to copy").input_value()
        assert ' -H "Authorization: Bearer $MINT_API_KEY" ' in command
        explorer.page.keyboard.press("Escape")


def test_a_long_curl_command_still_fits_a_shell(explorer: Explorer, tmp_path: Path) -> None:
    explorer.open("seeds=0&open=7&panel=plane&corners=1;2;3;4&side=7")
    sheet = run_curl(explorer, "#plane-export [data-format=curl]", tmp_path)
    assert min(sheet.size) >= 7 * 8
