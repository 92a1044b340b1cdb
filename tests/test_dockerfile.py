"""What a Dockerfile promises and can be held to without building it."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest

from serving.cli import app
from serving.server.listener import Address

ROOT = Path(__file__).parent.parent
BUILT_BY_THE_PIPELINE = {"models/generator.onnx", "reports/metrics.json"}


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """Instruction and its argument, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def context() -> set[str]:
    """The paths that .dockerignore lets into the build."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*", "everything is left out but what is named"
    return {line[1:] for line in lines if line.startswith("!")}


def of(name: str, instructions: list[tuple[str, str]]) -> str:
    return [argument for instruction, argument in instructions if instruction == name][-1]


def test_what_enters_the_build_exists_and_is_all_that_the_image_needs(
    instructions: list[tuple[str, str]], context: set[str]
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    copied = {
        source
        for instruction, argument in instructions
        if instruction == "COPY" and "--from=" not in argument
        for source in argument.split()[:-1]
    }
    needed = {"pyproject.toml", "serving", project["readme"], *project["license-files"], *BUILT_BY_THE_PIPELINE}
    assert context == needed | (copied - {"."})
    assert [path for path in context - BUILT_BY_THE_PIPELINE if not (ROOT / path).exists()] == []


def test_all_that_the_image_installs_is_locked_by_hash(instructions: list[tuple[str, str]]) -> None:
    installs = [argument for name, argument in instructions if name == "RUN" and " install " in argument]
    for locked in ("serving", "build"):
        assert ("COPY", f"requirements/{locked}.txt /tmp/") in instructions
        assert any(f"--require-hashes -r /tmp/{locked}.txt" in it for it in installs)
    assert all("--require-hashes" in it or "--no-deps --no-build-isolation" in it for it in installs)


def test_the_image_serves_with_a_command_that_there_is(instructions: list[tuple[str, str]]) -> None:
    script, command = json.loads(of("ENTRYPOINT", instructions))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert script in project["scripts"]
    assert command in {each.name or each.callback.__name__ for each in app.registered_commands}


def test_the_address_that_is_served_is_exposed_and_watched(instructions: list[tuple[str, str]]) -> None:
    environment = dict(each.split("=", 1) for each in of("ENV", instructions).split())
    address = Address.parse(environment["MINT_LISTEN"])
    assert address == Address("0.0.0.0", int(of("EXPOSE", instructions)))
    command = of("HEALTHCHECK", instructions).partition("CMD ")[2]
    assert json.loads(command)[:2] == ["python", "-m"]
    assert importlib.util.find_spec(json.loads(command)[2])


def test_the_image_runs_as_a_user_that_is_a_number_and_not_root(instructions: list[tuple[str, str]]) -> None:
    assert int(of("USER", instructions).split(":")[0]) > 0


def test_nothing_in_the_image_reports_to_its_maker(instructions: list[tuple[str, str]]) -> None:
    environment = of("ENV", instructions).split()
    assert {"BENTOML_DO_NOT_TRACK=true", "ORT_DISABLE_TELEMETRY=1"} <= set(environment)
