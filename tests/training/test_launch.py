"""`make train` with values: any path reaches params.yaml whole, and whatever cannot work is refused before anything."""

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from serving.errors import MintError
from tests.training.project import COMMITTED_PARAMS, Project, picture
from training import paths
from training.data.provenance import provenance
from training.launch import configure, replace_values
from training.params import load_params

ODD = [
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
def written(project: Project) -> str:
    """The committed params.yaml in a project of its own; its text."""
    shutil.copy(COMMITTED_PARAMS, project.folder)
    return paths.PARAMS.read_text()


def folder(name: str) -> str:
    """A folder of that name with a picture in it; the name as it was."""
    here = Path(name).absolute()
    here.mkdir(parents=True)
    (here / "a.png").write_bytes(picture())
    return name


def comments(text: str) -> list[str]:
    return re.findall(r" # .*", text)


@pytest.mark.parametrize("name", ODD)
def test_any_path_becomes_the_source_and_every_comment_stays(project: Project, written: str, name: str) -> None:
    command = configure({"SOURCE": folder(name), "RESOLUTION": "64", "CHANNELS": "3", "MINUTES": "0.5"})
    params = load_params()
    assert Path(params.data.source).expanduser().absolute() == Path(name).absolute()
    assert (params.data.resolution, params.data.channels) == (64, 3)
    assert (params.train.length.amount, params.train.length.unit) == (0.5, "minutes")
    assert comments(paths.PARAMS.read_text()) == comments(written)
    assert command[1:5] == ["-m", "dvc", "exp", "run"]
    assert not any(name in part for part in command)
    assert provenance(params.data.source).licence == "licence not stated"


def test_only_what_was_asked_for_changes_and_the_way_back_is_told(
    project: Project, written: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = written.replace("seed: 0", "seed: 42  # mine")
    paths.PARAMS.write_text(mine)
    configure({"SOURCE": folder("photos"), "MINUTES": "3"})
    changed = {line.split()[0] for line in set(paths.PARAMS.read_text().splitlines()) - set(mine.splitlines())}
    assert changed == {"source:", "length:"}
    told = capsys.readouterr().out
    assert "data.source: data/fashion-mnist-10k -> photos" in told
    assert "train.length: 220 kimg -> 3 minutes" in told
    back = re.search(r"to go back: cp (\S+) params.yaml", told)
    assert back
    assert Path(back[1]).read_text() == mine


def test_a_preset_sets_its_recipe_and_what_is_added_wins(project: Project, written: str) -> None:
    command = configure({"PRESET": "flowers-64", "RESOLUTION": "32"})
    params = load_params()
    assert (params.network.name, params.network.kernel, params.data.channels) == ("upsampling", None, 3)
    assert params.data.resolution == 32
    assert command[-1].startswith("flowers-64-")
    assert comments(paths.PARAMS.read_text()) == comments(written)
    configure({"PRESET": "default", "RESOLUTION": "28", "CHANNELS": "1"})
    assert load_params() == load_params(COMMITTED_PARAMS)
    assert paths.PARAMS.read_text() == written.replace("1.0e-3 ", "0.001  ").replace("1.0e-3\n", "0.001\n")


def test_what_was_said_of_other_images_does_not_outlive_them(project: Project, written: str) -> None:
    said = {"name": "moths", "data.labels": "tags.csv", "export.licence": "CC BY 4.0"}
    paths.PARAMS.write_text(replace_values(written, said))
    configure({"MINUTES": "1"})
    kept = load_params()
    assert (kept.name, kept.data.labels, kept.export.licence) == ("moths", "tags.csv", "CC BY 4.0")
    configure({"SOURCE": folder("cats")})
    fresh = load_params()
    assert (fresh.name, fresh.data.labels, fresh.export.licence) == ("auto", "auto", "auto")


def test_no_classes_at_all_is_a_choice_that_stays(project: Project, written: str) -> None:
    paths.PARAMS.write_text(replace_values(written, {"data.labels": "none"}))
    configure({"SOURCE": folder("cats")})
    assert load_params().data.labels == "none"


def test_without_values_the_pipeline_runs_as_params_yaml_has_it(project: Project, written: str) -> None:
    assert configure({"SOURCE": "", "PRESET": ""})[1:] == ["-m", "dvc", "repro"]
    assert paths.PARAMS.read_text() == written
    assert not paths.RUNS.exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"SOURCE": "flowres"}, "data.source = 'flowres' does not exist; did you mean flowers?"),
        ({"SOURCE": "torchvision:MINST", "MINUTES": "1"}, "did you mean MNIST?"),
        ({"RESOLUTION": "63"}, "make train with RESOLUTION: data.resolution = 63 does not work: it should be 28, 32"),
        ({"RESOLUTION": "64px"}, "data.resolution = '64px' does not work"),
        ({"CHANNELS": "4"}, "data.channels = 4 does not work: it should be 1 or 3"),
        ({"MINUTES": "soon"}, "'soon minutes' is not a length; write one like 20 epochs"),
        ({"MINUTES": "0"}, "train.length.amount = '0' does not work"),
        ({"PRESET": "flower-64"}, "flower-64 is not a preset; did you mean flowers-64?"),
        ({"MAKE_VARIABLES": "SORUCE"}, "make train takes no SORUCE; did you mean SOURCE?"),
        ({"MAKE_VARIABLES": "ARGS PYTHON"}, "make train takes no ARGS; it takes SOURCE, RESOLUTION"),
        ({"SOURCE": os.fsdecode(b"caf\xe9")}, "SOURCE = 'caf\\udce9' is no UTF-8 text"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_changes_nothing(
    project: Project, written: str, given: dict[str, str], sentence: str
) -> None:
    folder("flowers")
    with pytest.raises(MintError, match=re.escape(sentence)) as error:
        configure(given)
    assert "\n" not in str(error.value)
    assert paths.PARAMS.read_text() == written
    assert not paths.RUNS.exists()


def test_a_file_with_line_ends_of_windows_keeps_them(project: Project, written: str) -> None:
    paths.PARAMS.write_bytes(written.replace("\n", "\r\n").encode())
    configure({"SOURCE": folder("photos")})
    text = paths.PARAMS.read_bytes().decode()
    assert text.count("\r\n") == text.count("\n") == written.count("\n")


@pytest.mark.parametrize(
    "line", ["  source: 'a''b'", "  source: >\n    folded", "  source:", '  "source": null # none']
)
def test_a_value_is_replaced_however_it_is_written(line: str) -> None:
    text = replace_values(f"data:\n{line}\n  limit: 3  # of them\n", {"data.source": "photos"})
    assert yaml.safe_load(text) == {"data": {"source": "photos", "limit": 3}}


def test_a_value_that_others_refer_to_is_left_to_its_owner() -> None:
    with pytest.raises(MintError, match="data.source is written in a way that cannot be changed here"):
        replace_values("name: &it photos\ndata:\n  source: *it\n", {"data.source": "cats"})


def test_a_key_that_is_not_there_is_named() -> None:
    with pytest.raises(MintError, match="data.source is missing"):
        replace_values("data:\n  limit: 3\n", {"data.source": "photos"})
