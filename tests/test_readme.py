"""The README's commands and code examples, run as they are written."""

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.inference.generator import OnnxGenerator
from tests.live_service import ROOT, LiveService, live_service
from training import paths
from training.data.provenance import base_name
from training.params import load_params

README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
CURLS = [line for line in COMMANDS if line.startswith("curl ")]
MINT_LINES = [line for line in COMMANDS if "mint generate" in line]
PORT = "127.0.0.1:3000"


def code_blocks(language: str) -> list[str]:
    """The code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service with the committed model, as in a fresh clone."""
    with live_service(ROOT / paths.MODEL, tmp_path_factory.mktemp("bentoml")) as running:
        yield running


def address(service: LiveService) -> str:
    return service.client.base_url.netloc.decode()


def check_image(path: Path) -> None:
    """Assert that the file holds images that are not of a single colour."""
    if path.suffix == ".npy":
        pictures = list(np.load(path))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            pictures = [np.asarray(Image.open(archive.open(name))) for name in archive.namelist()]
    else:
        pictures = [np.asarray(Image.open(path))]
    assert pictures
    assert all(picture.std() > 1 for picture in pictures), path


def test_the_readme_has_curl_examples() -> None:
    assert sum(" -o " in line for line in CURLS) >= 4


@pytest.mark.parametrize("line", CURLS)
def test_a_curl_example_of_the_readme_returns_what_it_says(line: str, service: LiveService, tmp_path: Path) -> None:
    ran = subprocess.run(
        shlex.split(line.replace(PORT, address(service))),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
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


def test_the_mint_generate_examples_of_the_readme_write_their_images(service: LiveService, tmp_path: Path) -> None:
    by_file, by_service = MINT_LINES
    (tmp_path / paths.MODEL).parent.mkdir()
    (tmp_path / paths.MODEL).symlink_to(ROOT / paths.MODEL)
    for line, folder in ((by_file, "out"), (by_service.replace(PORT, address(service)), "coats")):
        subprocess.run([sys.executable, "-m", "serving.cli", *shlex.split(line)[1:]], cwd=tmp_path, check=True)
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == sorted(f"seed-{n}.png" for n in range(16))


def run_example(command: list[str], code: str, service: LiveService, folder: Path) -> str:
    """Run an example in an empty folder, check the images it writes, and return its output."""
    path = folder / "example.mjs"
    path.write_text(code.replace(PORT, address(service)))
    ran = subprocess.run([*command, path], cwd=folder, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    path.unlink()
    made = list(folder.iterdir())
    assert made
    for each in made:
        check_image(each)
    return ran.stdout


def test_the_python_example_of_the_readme_works(service: LiveService, tmp_path: Path) -> None:
    (code,) = code_blocks("python")
    printed = run_example([sys.executable], code, service, tmp_path)
    assert printed.startswith("(4, 28, 28, 1) (")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: make system")
def test_the_javascript_example_of_the_readme_works(service: LiveService, tmp_path: Path) -> None:
    (code,) = code_blocks("js")
    run_example(["node"], code, service, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".webp"]


def test_the_files_that_the_readme_links_to_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)`", README)) | set(
        re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)
    ):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_committed_model_was_trained_with_the_committed_params() -> None:
    card = OnnxGenerator.load(ROOT / paths.MODEL, provider="cpu").card
    params = load_params(ROOT / paths.PARAMS).model_dump(mode="json")
    params["data"]["source"] = base_name(params["data"]["source"])  # the card holds no path
    del params["promote"]  # nor whether it is served
    assert card.params == params
