"""`dvc plots show` draws Mint's plots without a network."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.browser import chromium
from tests.live_service import ROOT

ROWS = 5


@pytest.fixture(scope="module")
def plots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that DVC writes for the plots of dvc.yaml and another one, a bar chart, from curves of five rows."""
    folder = tmp_path_factory.mktemp("plots")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True)
    for name in ("config", "plots.html"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    files = {file for plot in plots for definition in plot.values() for file in definition["y"]}
    for file in sorted(files):
        curve = folder / file
        curve.parent.mkdir(parents=True, exist_ok=True)
        rows = "".join(f"{step}\t{step / 7}\n" for step in range(ROWS))
        curve.write_text(f"step\t{curve.stem}\n{rows}")
    bars = {"bars": {"template": "bar_horizontal", "x": "step", "y": {min(files): Path(min(files)).stem}}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"plots": [*plots, bars]}))
    subprocess.run([sys.executable, "-m", "dvc", "plots", "show"], cwd=folder, check=True, capture_output=True)
    return folder / "dvc_plots" / "index.html"


def test_the_page_loads_nothing_from_another_host(plots: Path) -> None:
    page = plots.read_text()
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)", page) == []
    assert "cdn" not in page.split("<style>")[1].lower()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_chromium_draws_every_curve_without_a_network(plots: Path, scheme: str) -> None:
    requested, problems = [], []
    with chromium() as browser:
        page = browser.new_page(color_scheme=scheme)
        page.context.set_offline(True)
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(plots.as_uri())
        assert page.locator("h2").all_inner_texts() == ["losses", "probabilities"]
        assert sorted(page.locator("li").all_inner_texts()) == ["d_fake", "d_loss", "d_real", "g_loss"]
        curves = [curve.get_attribute("points") or "" for curve in page.locator("polyline").all()]
        assert [len(curve.split()) for curve in curves] == [ROWS] * 4
        boxes = [box for curve in page.locator("polyline").all() if (box := curve.bounding_box())]
        assert all(box["width"] > 100 and box["height"] > 50 for box in boxes)
        assert "Not a line chart" in page.locator("p").inner_text()
    assert requested == [plots.as_uri()]
    assert problems == []
