"""The Dockerfile's instructions and its build context, as far as they can be checked without a container runtime."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from bentoml._internal.utils.analytics.usage_stats import do_not_track
from onnxruntime.capi import onnxruntime_pybind11_state
from packaging.specifiers import SpecifierSet

from serving.address import Address
from serving.cli import app

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TEXT = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
INSTRUCTIONS = [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in TEXT.splitlines() if line.strip()]


def arguments(name: str) -> list[str]:
    """The arguments of every instruction of a name, in order."""
    return [argument for instruction, argument in INSTRUCTIONS if instruction == name]


def environment() -> dict[str, str]:
    """The variables that the image sets."""
    return dict(pair.split("=", 1) for argument in arguments("ENV") for pair in shlex.split(argument))


def copied_from_context() -> set[str]:
    """The sources of every COPY from the build context."""
    copies = [shlex.split(argument) for argument in arguments("COPY") if "--from=" not in argument]
    return {source for copy in copies for source in copy[:-1]}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build context: the paths that .dockerignore allows, copied as `docker build` would send them."""
    folder = tmp_path_factory.mktemp("context")
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*", "an allow list"
    for path in (line[1:] for line in lines if line.startswith("!")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, folder / path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / path, folder / path)
    return folder


def test_the_build_context_has_every_path_that_the_dockerfile_copies(context: Path) -> None:
    assert [path for path in copied_from_context() if not (context / path).exists()] == []


def test_mint_installed_from_the_build_context_generates_an_image(context: Path, tmp_path: Path) -> None:
    target = tmp_path / "mint"
    install = ["uv", "pip", "install", "--quiet", "--offline", "--python", sys.executable]
    options = ["--no-deps", "--no-build-isolation", "--target", str(target), "."]
    subprocess.run([*install, *options], cwd=context, check=True, timeout=300)
    assert not (target / "training").exists()
    installed = {path.relative_to(target) for path in (target / "serving").rglob("*") if path.is_file()}
    assert {path.relative_to(context) for path in (context / "serving").rglob("*") if path.is_file()} <= installed
    subprocess.run(
        [target / "bin" / "mint", "generate", "--provider", "cpu", "--seeds", "0", "--out", tmp_path / "out"],
        cwd=context,
        env=os.environ | {"PYTHONPATH": str(target)},
        check=True,
        timeout=300,
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["seed-0.png"]


def test_every_package_from_an_index_is_installed_with_its_hash() -> None:
    commands = [command for run in arguments("RUN") for command in run.split("&&") if "pip" in shlex.split(command)]
    from_index = [words for words in map(shlex.split, commands) if "--no-deps" not in words]
    assert from_index
    for words in from_index:
        assert "--require-hashes" in words
        locked = Path(words[words.index("-r") + 1])
        assert ("COPY", f"requirements/{locked.name} {locked.parent}/") in INSTRUCTIONS
        assert words[-2:] == ["-r", str(locked)], "nothing beside the locked requirements"


def test_the_default_base_image_has_a_supported_python() -> None:
    (image,) = (argument for argument in arguments("ARG") if argument.startswith("PYTHON_IMAGE="))
    version = re.search(r"python:([\d.]+)", image)
    assert version
    assert SpecifierSet(PROJECT["requires-python"]).contains(version[1])


def test_the_image_label_names_the_version_of_the_project() -> None:
    assert f"VERSION={PROJECT['version']}" in arguments("ARG")


def test_the_entry_point_is_a_command_of_mint() -> None:
    script, command = json.loads(arguments("ENTRYPOINT")[-1])
    assert script in PROJECT["scripts"]
    assert command in {each.name or each.callback.__name__ for each in app.registered_commands}


def test_the_exposed_port_is_the_one_that_the_service_listens_on() -> None:
    assert Address.parse(environment()["MINT_LISTEN"]) == Address("0.0.0.0", int(arguments("EXPOSE")[-1]))


def test_the_health_check_runs_a_module_of_mint() -> None:
    command = json.loads(arguments("HEALTHCHECK")[-1].partition("CMD ")[2])
    assert command[:2] == ["python", "-m"]
    assert importlib.util.find_spec(command[2])


def test_the_image_runs_as_a_numeric_user_that_is_not_root() -> None:
    assert int(arguments("USER")[-1].split(":")[0]) > 0


def test_the_environment_of_the_image_turns_telemetry_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", environment()["BENTOML_DO_NOT_TRACK"])
    do_not_track.cache_clear()
    assert do_not_track()
    assert environment()["ORT_DISABLE_TELEMETRY"] == "1"
    # The switch that this build of ONNX Runtime reads.
    assert b"ORT_DISABLE_TELEMETRY" in Path(onnxruntime_pybind11_state.__file__).read_bytes()
