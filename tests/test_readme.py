"""What the README tells a reader to type works as it stands there."""

import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.generator import Generator
from tests.live_service import ROOT, LiveService, live_service
from training import paths
from training.params import load_params

README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
CURLS = [line for line in COMMANDS if line.startswith("curl ")]
PORT = "127.0.0.1:3000"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """The service as a fresh clone runs it: with the committed model."""
    with live_service(ROOT / paths.MODEL, tmp_path_factory.mktemp("bentoml")) as running:
        yield running


def check_image(path: Path) -> None:
    """Raises unless the file holds images that are not all of one colour."""
    if path.suffix == ".npy":
        pictures = list(np.load(path))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            pictures = [np.asarray(Image.open(archive.open(name))) for name in archive.namelist()]
    else:
        pictures = [np.asarray(Image.open(path))]
    assert pictures
    assert all(picture.std() > 1 for picture in pictures), path


def test_the_readme_has_curl_lines() -> None:
    assert sum(" -o " in line for line in CURLS) >= 4


@pytest.mark.parametrize("line", CURLS)
def test_a_curl_line_of_the_readme_gives_what_it_promises(line: str, service: LiveService, tmp_path: Path) -> None:
    address = service.client.base_url.netloc.decode()
    ran = subprocess.run(
        shlex.split(line.replace(PORT, address)), cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30
    )
    made = list(tmp_path.iterdir())
    if " -o " in line:
        assert len(made) == 1
        check_image(made[0])
    elif "Ancle" in line:
        assert '"error"' in ran.stdout
        assert "Ankle boot" in ran.stdout
    else:
        assert '"card"' in ran.stdout


def test_the_generate_line_of_the_readme_writes_its_images(tmp_path: Path) -> None:
    (line,) = [line for line in COMMANDS if "mint generate" in line]
    arguments = shlex.split(line)[1:]
    subprocess.run(
        [sys.executable, "-m", "serving.cli", *arguments, "--model", str(ROOT / paths.MODEL)], cwd=tmp_path, check=True
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(f"seed-{n}.png" for n in range(16))


def test_the_files_that_the_readme_points_at_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)`", README)) | set(
        re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)
    ):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_committed_model_is_the_one_that_the_committed_params_train() -> None:
    card = Generator.load(ROOT / paths.MODEL, provider="cpu").card
    params = load_params(ROOT / paths.PARAMS).model_dump(mode="json")
    assert card.params == params
