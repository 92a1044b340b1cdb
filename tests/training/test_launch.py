"""Launcher of `make train`: overrides in params.yaml, the DVC command, and errors that change nothing."""

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from serving.errors import MintError
from serving.inference.image_shape import Resolution
from tests.training.project import COMMITTED_PARAMS, Project, picture
from training import paths
from training.data.provenance import provenance
from training.launch import configure, replace_values
from training.params import load_params

UNUSUAL_NAMES = [
    "my flowers",
    "it's",
    'the "best" (2) [x] {y}',
    "a, b = c; d & e",
    "50% #1",
    "$HOME $(shell id) ${x} $$ `id`",
    "blüten/花 🌸",
    "back\\slash\\",
    "~backup",
    "./~other",
    "-rf",
    "- key: value",
    "new\nline\tand \x1b[31mred",
    " lead and trail ",
    "null",
    "0123",
    "*alias &anchor !tag |",
]


@pytest.fixture
def original(project: Project) -> str:
    """Copy the committed params.yaml into the project; returns its text."""
    shutil.copy(COMMITTED_PARAMS, project.folder)
    return paths.PARAMS.read_text()


def folder(name: str) -> str:
    """Make a folder with an image in it; returns the name unchanged."""
    here = Path(name).absolute()
    here.mkdir(parents=True)
    (here / "a.png").write_bytes(picture())
    return name


def comments(text: str) -> list[str]:
    return re.findall(r" # .*", text)


@pytest.mark.parametrize("name", UNUSUAL_NAMES)
def test_any_path_becomes_the_source_and_comments_are_kept(project: Project, original: str, name: str) -> None:
    command = configure({"SOURCE": folder(name), "RESOLUTION": "64", "CHANNELS": "3", "MINUTES": "0.5"})
    params = load_params()
    assert Path(params.data.source).expanduser().absolute() == Path(name).absolute()
    assert (params.data.resolution, params.data.channels) == (Resolution(64, 64), 3)
    assert (params.train.length.amount, params.train.length.unit) == (0.5, "minutes")
    assert comments(paths.PARAMS.read_text()) == comments(original)
    assert command[1:5] == ["-m", "dvc", "exp", "run"]
    assert not any(name in part for part in command)
    assert provenance(params.data.source).licence == "licence not stated"


def test_only_overridden_values_change_and_the_backup_is_printed(
    project: Project, original: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = original.replace("seed: 0", "seed: 42  # mine")
    paths.PARAMS.write_text(mine)
    configure({"SOURCE": folder("photos"), "MINUTES": "3"})
    changed = {line.split()[0] for line in set(paths.PARAMS.read_text().splitlines()) - set(mine.splitlines())}
    assert changed == {"source:", "length:"}
    output = capsys.readouterr().out
    assert "data.source: data/fashion-mnist-10k -> photos" in output
    assert "train.length: 220 kimg -> 3 minutes" in output
    back = re.search(r"to go back: cp (\S+) params.yaml", output)
    assert back
    assert Path(back[1]).read_text() == mine


def test_single_values_take_precedence_over_the_preset(project: Project, original: str) -> None:
    command = configure({"PRESET": "flowers-64", "RESOLUTION": "32"})
    params = load_params()
    assert (params.network.name, params.network.kernel, params.data.channels) == ("upsampling", None, 3)
    assert params.data.resolution == Resolution(32, 32)
    assert command[-1].startswith("flowers-64-")
    assert comments(paths.PARAMS.read_text()) == comments(original)
    configure({"PRESET": "default", "RESOLUTION": "28", "CHANNELS": "1"})
    assert load_params() == load_params(COMMITTED_PARAMS)
    assert paths.PARAMS.read_text() == original.replace("1.0e-3 ", "0.001  ").replace("1.0e-3\n", "0.001\n")


def test_name_labels_and_licence_are_reset_with_a_new_source(project: Project, original: str) -> None:
    settings = {"name": "moths", "data.labels": "tags.csv", "export.licence": "CC BY 4.0"}
    paths.PARAMS.write_text(replace_values(original, settings))
    configure({"MINUTES": "1"})
    kept = load_params()
    assert (kept.name, kept.data.labels, kept.export.licence) == ("moths", "tags.csv", "CC BY 4.0")
    configure({"SOURCE": folder("cats")})
    fresh = load_params()
    assert (fresh.name, fresh.data.labels, fresh.export.licence) == ("auto", "auto", "auto")


def test_labels_none_is_kept_with_a_new_source(project: Project, original: str) -> None:
    paths.PARAMS.write_text(replace_values(original, {"data.labels": "none"}))
    configure({"SOURCE": folder("cats")})
    assert load_params().data.labels == "none"


def test_without_overrides_the_pipeline_runs_with_params_yaml_unchanged(project: Project, original: str) -> None:
    assert configure({"SOURCE": "", "PRESET": ""})[1:] == ["-m", "dvc", "repro"]
    assert paths.PARAMS.read_text() == original
    assert not paths.RUNS.exists()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"SOURCE": "flowres"}, "data.source = 'flowres' does not exist; did you mean flowers?"),
        ({"SOURCE": "torchvision:MINST", "MINUTES": "1"}, "did you mean MNIST?"),
        ({"RESOLUTION": "63"}, "make train with RESOLUTION: data.resolution = 63 does not work: it should be 28, 512"),
        ({"RESOLUTION": "64px"}, "data.resolution = '64px' does not work"),
        ({"CHANNELS": "2"}, "data.channels = 2 does not work: it should be 1, 3 or 4"),
        ({"MINUTES": "soon"}, "'soon minutes' is not a length; write one like 20 epochs"),
        ({"MINUTES": "0"}, "train.length.amount = '0' does not work"),
        ({"PRESET": "flower-64"}, "flower-64 is not a preset; did you mean flowers-64?"),
        ({"MAKE_VARIABLES": "SORUCE"}, "make train takes no SORUCE; did you mean SOURCE?"),
        ({"MAKE_VARIABLES": "ARGS PYTHON"}, "make train takes no ARGS; it takes SOURCE, RESOLUTION"),
        ({"SOURCE": os.fsdecode(b"caf\xe9")}, "SOURCE = 'caf\\udce9' is no UTF-8 text"),
    ],
)
def test_an_invalid_override_gives_a_one_line_error_and_changes_nothing(
    project: Project, original: str, overrides: dict[str, str], sentence: str
) -> None:
    folder("flowers")
    with pytest.raises(MintError, match=re.escape(sentence)) as error:
        configure(overrides)
    assert "\n" not in str(error.value)
    assert paths.PARAMS.read_text() == original
    assert not paths.RUNS.exists()


def test_windows_line_ends_are_kept(project: Project, original: str) -> None:
    paths.PARAMS.write_bytes(original.replace("\n", "\r\n").encode())
    configure({"SOURCE": folder("photos")})
    text = paths.PARAMS.read_bytes().decode()
    assert text.count("\r\n") == text.count("\n") == original.count("\n")


@pytest.mark.parametrize(
    "line", ["  source: 'a''b'", "  source: >\n    folded", "  source:", '  "source": null # none']
)
def test_a_value_is_replaced_in_any_yaml_style(line: str) -> None:
    text = replace_values(f"data:\n{line}\n  limit: 3  # of them\n", {"data.source": "photos"})
    assert yaml.safe_load(text) == {"data": {"source": "photos", "limit": 3}}


def test_an_aliased_value_is_not_replaced() -> None:
    with pytest.raises(MintError, match="data.source is written in a way that cannot be changed here"):
        replace_values("name: &it photos\ndata:\n  source: *it\n", {"data.source": "cats"})


def test_a_missing_key_in_the_file_is_named() -> None:
    with pytest.raises(MintError, match="data.source is missing"):
        replace_values("data:\n  limit: 3\n", {"data.source": "photos"})
