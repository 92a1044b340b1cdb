"""Downloads, and curl commands that make the same pictures."""

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
    """Clicks a download button; returns the file's name and content."""
    with explorer.page.expect_download() as pending:
        explorer.page.locator(button).click()
    return pending.value.suggested_filename, pending.value.path().read_bytes()


def run_curl(explorer: Explorer, button: str, folder: Path) -> Image.Image:
    """Runs the curl command of a button in a shell; returns the picture that it saves."""
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
def test_the_png_and_the_curl_command_give_the_open_picture(explorer: Explorer, view: str, tmp_path: Path) -> None:
    explorer.open(f"seeds=0&{view}")
    shown = explorer.pixels("#preview")
    name, content = download(explorer, "#picture-download [data-format=png]")
    assert name.endswith(".png")
    assert_same_pixels(pixels_of(Image.open(io.BytesIO(content))), shown)
    assert_same_pixels(pixels_of(run_curl(explorer, "#picture-download [data-format=curl]", tmp_path)), shown)


def test_a_downloaded_png_holds_its_generation_metadata(explorer: Explorer) -> None:
    explorer.open("seeds=0&open=7:2&truncation=0.5")
    _, content = download(explorer, "#picture-download [data-format=png]")
    text = Image.open(io.BytesIO(content)).text
    assert text["seed"] == "7"
    assert text["truncation"] == "0.5"
    assert text["model"] in explorer.view
    assert "label" in text


def test_the_samples_zip_holds_a_png_for_every_seed(explorer: Explorer) -> None:
    explorer.open("seeds=0-9,30&class=1")
    name, content = download(explorer, "#samples-download [data-format=zip]")
    assert name == "mint-sheet.zip"
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.namelist() == [f"seed-{seed}.png" for seed in [*range(10), 30]]
    shown = explorer.pictures("samples")
    for picture, file in zip(shown, archive.namelist(), strict=True):
        assert_same_pixels(pixels_of(Image.open(io.BytesIO(archive.read(file)))), picture)


def test_the_samples_png_and_curl_command_give_one_contact_sheet(explorer: Explorer, tmp_path: Path) -> None:
    explorer.open("seeds=0-9")
    _, content = download(explorer, "#samples-download [data-format=png]")
    sheet = Image.open(io.BytesIO(content))
    assert sheet.text["seeds"] == ",".join(map(str, range(10)))
    assert_same_pixels(
        pixels_of(run_curl(explorer, "#samples-download [data-format=curl]", tmp_path)), pixels_of(sheet)
    )


@pytest.mark.parametrize(("panel", "count"), [("nearby", 9), ("plane", 25)])
def test_a_panels_zip_holds_its_pictures(explorer: Explorer, panel: str, count: int) -> None:
    explorer.open(f"seeds=0&open=7&panel={panel}&corners=1;2;3;4")
    _, content = download(explorer, f"#{panel}-download [data-format=zip]")
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert len(archive.namelist()) == count
    first = Image.open(io.BytesIO(archive.read(archive.namelist()[0])))
    gallery = {"nearby": "neighbours", "plane": "plane"}[panel]
    assert_same_pixels(pixels_of(first), explorer.pictures(gallery)[0])


def test_the_morphs_gif_and_curl_command_give_the_same_animation(explorer: Explorer, tmp_path: Path) -> None:
    explorer.open("seeds=0&panel=morph&picks=1;m(2,5,0.4);3:1&steps=8")
    name, content = download(explorer, "#morph-download [data-format=gif]")
    animation = Image.open(io.BytesIO(content))
    assert (name, animation.format, animation.n_frames) == ("mint-morph.gif", "GIF", 24)
    assert animation.info["loop"] == 0
    assert animation.size == (256, 256)
    from_curl = run_curl(explorer, "#morph-download [data-format=curl]", tmp_path)
    assert from_curl.n_frames == 24
    assert (
        np.abs(pixels_of(from_curl).astype(int) - pixels_of(animation)).mean() < 8
    )  # a difference of 1/255 may change the palette


def test_the_curl_command_takes_the_api_key_from_the_environment(explorer: Explorer) -> None:
    def with_keys(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, headers=response.headers | {"vary": "Origin, Authorization"})

    explorer.page.route("**/model*", with_keys)
    explorer.open("seeds=0&open=7")
    for button in ("#picture-download", "#samples-download"):
        explorer.page.locator(f"{button} [data-format=curl]").click()
        command = explorer.page.get_by_label("Text to copy").input_value()
        assert ' -H "Authorization: Bearer $MINT_API_KEY" ' in command
        explorer.page.keyboard.press("Escape")


def test_a_long_curl_command_runs_in_a_shell(explorer: Explorer, tmp_path: Path) -> None:
    explorer.open("seeds=0&open=7&panel=plane&corners=1;2;3;4&side=7")
    sheet = run_curl(explorer, "#plane-download [data-format=curl]", tmp_path)
    assert min(sheet.size) >= 7 * 8
