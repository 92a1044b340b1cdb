"""Launcher of `make train`: what is chosen for the pictures, what is given, params.yaml, errors that change nothing."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.errors import MintError
from serving.inference.image_shape import Resolution
from tests.training.picture_sets import photograph, pictures
from tests.training.project import COMMITTED_PARAMS, Project, picture
from training import launch, paths
from training.data.provenance import provenance
from training.lock import exclusive_lock
from training.param_file import replace_values
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
IMAGES_PER_SECOND = 50.0


@pytest.fixture
def original(project: Project) -> str:
    """Copy the committed params.yaml into the project; returns its text."""
    shutil.copy(COMMITTED_PARAMS, project.folder)
    return paths.PARAMS.read_text()


@pytest.fixture
def flowers(project: Project, original: str) -> Project:
    """A project with 40 colour photographs of 96x64 pixels in two classes."""
    for name, first in (("rose", 0), ("tulip", 20)):
        project.write(pictures(lambda seed, first=first: photograph(first + seed, (96, 64)), 20), f"flowers/{name}")  # type: ignore[misc]
    return project


def folder(name: str) -> str:
    """Make a folder with an image in it; returns the name unchanged."""
    here = Path(name).absolute()
    here.mkdir(parents=True)
    (here / "a.png").write_bytes(picture())
    return name


def configure(**variables: str) -> list[str]:
    """Configure with these variables, on a machine of a fixed speed."""
    return launch.configure(variables, speed_test=lambda params, classes: IMAGES_PER_SECOND)


def comments(text: str) -> list[str]:
    return re.findall(r" # .*", text)


@pytest.mark.parametrize("name", UNUSUAL_NAMES)
def test_any_path_becomes_the_source_and_comments_are_kept(project: Project, original: str, name: str) -> None:
    command = configure(SOURCE=folder(name), RESOLUTION="64", CHANNELS="3", MINUTES="0.5")
    params = load_params()
    assert Path(params.data.source).expanduser().absolute() == Path(name).absolute()
    assert (params.data.resolution, params.data.channels) == (Resolution(64, 64), 3)
    assert (params.train.length.amount, params.train.length.unit) == (0.5, "minutes")
    assert comments(paths.PARAMS.read_text()) == comments(original)
    assert command[1:5] == ["-m", "dvc", "exp", "run"]
    assert not any(name in part for part in command)
    assert provenance(params.data.source).licence == "licence not stated"


def test_a_source_alone_is_looked_at_and_the_rest_is_chosen(
    flowers: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    command = configure(SOURCE="flowers")
    params = load_params()
    assert (params.data.source, params.data.resolution, params.data.channels) == ("flowers", Resolution(64, 96), 3)
    assert (params.train.length.amount, params.train.length.unit) == (15, "minutes")
    assert (params.network.name, params.train.rotation, params.train.horizontal_flip) == ("projected", 10, 0.5)
    assert command[-1].startswith("few-shot-")
    output = capsys.readouterr().out
    assert "40 colour pictures, 96 px wide and 64 high, 2 classes: rose (20), tulip (20)" in output
    assert (
        "training 64x96 px RGB, preset few-shot, about 45 kimg in 15 minutes on this machine: each picture 1,100 times"
        in output
    )
    assert "train.horizontal_flip: 0" in output


def test_the_same_source_again_changes_nothing(flowers: Project) -> None:
    configure(SOURCE="flowers")
    text = paths.PARAMS.read_text()
    configure(SOURCE="flowers")
    assert paths.PARAMS.read_text() == text


@pytest.mark.parametrize(
    "variables",
    [
        {"RESOLUTION": "32"},
        {"CHANNELS": "1"},
        {"MINUTES": "3"},
        {"PRESET": "digits-gan"},
        {"RESOLUTION": "32", "CHANNELS": "1", "MINUTES": "3", "PRESET": "r3gan"},
    ],
)
def test_what_is_given_is_not_chosen(flowers: Project, variables: dict[str, str]) -> None:
    configure(SOURCE="flowers", **variables)
    params = load_params()
    networks = {"digits-gan": "dense", "r3gan": "residual"}
    assert params.network.name == networks.get(variables.get("PRESET", ""), "projected")
    assert params.data.resolution == Resolution.parse(
        variables.get("RESOLUTION", 28 if "PRESET" in variables else "64x96")
    )
    if "CHANNELS" in variables:
        assert params.data.channels == int(variables["CHANNELS"])
    if "MINUTES" in variables:
        assert (params.train.length.amount, params.train.length.unit) == (3, "minutes")


def test_a_preset_that_shrinks_or_greys_the_pictures_says_so(
    flowers: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(SOURCE="flowers", PRESET="digits-dcgan")
    output = capsys.readouterr().out
    assert "training 28 px grey, preset digits-dcgan" in output
    assert "the resolution is the preset's; RESOLUTION=64x96 fits the pictures" in output
    assert "33% of the usual picture is cut off" in output
    assert "100% are in colour and become grey; CHANNELS=3 keeps their colours" in output


def test_a_preset_without_sizes_of_its_own_leaves_them_to_the_pictures(flowers: Project) -> None:
    configure(SOURCE="flowers", PRESET="r3gan")
    params = load_params()
    assert (params.data.resolution, params.data.channels) == (Resolution(64, 96), 3)


def test_auto_chooses_for_the_source_in_params_yaml(flowers: Project, original: str) -> None:
    paths.PARAMS.write_text(replace_values(original, {"data.source": "flowers"}))
    configure(PRESET="auto", MINUTES="2")
    params = load_params()
    assert (params.data.resolution, params.network.name, params.train.length.amount) == ((64, 96), "projected", 2)


def test_a_batch_never_holds_more_pictures_than_there_are(project: Project, original: str) -> None:
    project.write(pictures(photograph, 12), "few")
    configure(SOURCE="few")
    assert load_params().train.batch == 12


def test_the_length_of_a_preset_is_told_in_minutes(flowers: Project, capsys: pytest.CaptureFixture[str]) -> None:
    configure(SOURCE="flowers", PRESET="flowers-64")  # 250 epochs of 40 pictures, at 50 a second
    assert "about 10 kimg in 3.3 minutes" in capsys.readouterr().out


def test_only_what_is_given_changes_without_a_source_and_the_way_back_is_printed(
    project: Project, original: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = original.replace("seed: 0", "seed: 42  # mine")
    paths.PARAMS.write_text(mine)
    configure(MINUTES="3")
    changed = {line.split()[0] for line in set(paths.PARAMS.read_text().splitlines()) - set(mine.splitlines())}
    assert changed == {"length:"}
    output = capsys.readouterr().out
    assert "train.length: 220 kimg -> 3 minutes" in output
    back = re.search(r"to go back: cp (\S+) params.yaml", output)
    assert back
    assert Path(back[1]).read_text() == mine


def test_a_new_source_keeps_what_belongs_to_no_preset(project: Project, original: str) -> None:
    mine = {"train.seed": 42, "train.device": "cpu", "evaluate.images": 500, "data.background": "#000000"}
    paths.PARAMS.write_text(replace_values(original, mine))
    configure(SOURCE=folder("photos"))
    params = load_params()
    assert (params.train.seed, params.train.device) == (42, "cpu")
    assert (params.evaluate.images, params.data.background) == (500, "#000000")


def test_single_values_take_precedence_over_the_preset(project: Project, original: str) -> None:
    command = configure(PRESET="flowers-64", RESOLUTION="32")
    params = load_params()
    assert (params.network.name, params.network.kernel, params.data.channels) == ("upsampling", None, 3)
    assert params.data.resolution == Resolution(32, 32)
    assert command[-1].startswith("flowers-64-")
    assert comments(paths.PARAMS.read_text()) == comments(original)
    configure(PRESET="default", RESOLUTION="28", CHANNELS="1")
    assert load_params() == load_params(COMMITTED_PARAMS)
    assert paths.PARAMS.read_text() == original.replace("1.0e-3 ", "0.001  ").replace("1.0e-3\n", "0.001\n")


def test_name_labels_and_licence_are_reset_with_a_new_source(project: Project, original: str) -> None:
    settings = {"name": "moths", "data.labels": "tags.csv", "export.licence": "CC BY 4.0"}
    paths.PARAMS.write_text(replace_values(original, settings))
    configure(MINUTES="1")
    kept = load_params()
    assert (kept.name, kept.data.labels, kept.export.licence) == ("moths", "tags.csv", "CC BY 4.0")
    configure(SOURCE=folder("cats"))
    fresh = load_params()
    assert (fresh.name, fresh.data.labels, fresh.export.licence) == ("auto", "auto", "auto")


def test_labels_none_is_kept_with_a_new_source(project: Project, original: str) -> None:
    paths.PARAMS.write_text(replace_values(original, {"data.labels": "none"}))
    configure(SOURCE=folder("cats"))
    assert load_params().data.labels == "none"


def test_without_overrides_the_pipeline_runs_with_params_yaml_unchanged(project: Project, original: str) -> None:
    assert configure(SOURCE="", PRESET="")[1:] == ["-m", "dvc", "repro"]
    assert paths.PARAMS.read_text() == original
    assert not paths.RUNS.exists()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"SOURCE": "flowres"}, "data.source = 'flowres' does not exist; did you mean flowers?"),
        ({"SOURCE": "torchvision:MINST", "MINUTES": "1"}, "did you mean MNIST?"),
        ({"RESOLUTION": "63"}, "make train with RESOLUTION: data.resolution = 63 does not work: it should be 28, 512"),
        ({"SOURCE": "flowers", "RESOLUTION": "63"}, "data.resolution = 63 does not work"),
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
        configure(**overrides)
    assert "\n" not in str(error.value)
    assert paths.PARAMS.read_text() == original
    assert not paths.RUNS.exists()


def test_a_folder_without_pictures_changes_nothing(project: Project, original: str) -> None:
    project.write({"notes.png": b"no picture"}, "empty")
    with pytest.raises(MintError, match="no readable picture among its 1 files"):
        configure(SOURCE="empty")
    assert paths.PARAMS.read_text() == original


def test_windows_line_ends_are_kept(project: Project, original: str) -> None:
    paths.PARAMS.write_bytes(original.replace("\n", "\r\n").encode())
    configure(SOURCE=folder("photos"))
    text = paths.PARAMS.read_bytes().decode()
    assert text.count("\r\n") == text.count("\n") == original.count("\n")


@pytest.fixture
def dvc_process() -> Iterator[int]:
    """A process that looks like a running DVC; yields its id."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "dvc", "repro"]) as process:
        yield process.pid
        process.kill()


def test_a_second_make_train_is_refused_in_one_sentence(project: Project, original: str) -> None:
    with (
        exclusive_lock(paths.LAUNCH_LOCK, "training in this folder"),
        pytest.raises(
            MintError, match=rf"process {os.getpid()} is already training in this folder; wait for it or end it"
        ),
    ):
        launch.main()


def test_make_train_is_refused_while_dvc_runs_a_stage(project: Project, original: str, dvc_process: int) -> None:
    paths.DVC_LOCKS.parent.mkdir(parents=True)
    holder = {"pid": dvc_process, "cmd": "dvc repro"}
    paths.DVC_LOCKS.write_text(json.dumps({"read": {}, "write": {"data/prepared": holder}}))
    with pytest.raises(MintError, match=rf"process {dvc_process} \(dvc repro\) is already running here"):
        launch.main()
    assert paths.PARAMS.read_text() == original


def test_the_lock_of_make_train_is_held_until_dvc_ends(project: Project) -> None:
    code = (
        "import os; from pathlib import Path; from training.lock import exclusive_lock\n"
        "with exclusive_lock(Path('it.lock'), 'training', survives_exec=True): os.execvp('cat', ['cat'])"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"running\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"running\n"
        with pytest.raises(MintError, match="is already training"), exclusive_lock(Path("it.lock"), "training"):
            pass
        process.stdin.close()
        process.wait()
    with exclusive_lock(Path("it.lock"), "training"):
        pass
