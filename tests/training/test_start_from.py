"""train.start_from: runs that start from the weights of an earlier run, their lineage, and files that do not fit."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from serving.errors import MintError
from serving.inference.generator import OnnxGenerator
from tests.training.project import FAMILIES, Project, picture, tiny, write_params
from training import export, paths, preprocess, train
from training.data.manifest import read_manifest
from training.params import load_params
from training.torch_files import load_with_checksum, save_with_checksum

pytestmark = pytest.mark.usefixtures("no_run_page")

SOURCE = str(Path(__file__).parents[2] / "data/fashion-mnist-10k")


def configure(project: Project, limit: int = 64, network: dict[str, Any] | None = None, **schedule: Any) -> None:
    defaults = {"length": "2 epochs", "batch": 16, "checkpoint_kimg": 0.032, "sheet_epochs": []}
    sections = {"data": {"source": SOURCE, "limit": limit}, "network": network or {}, "train": defaults | schedule}
    write_params(project.folder, **tiny(**sections))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which a run has ended."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        configure(Project(folder))
        preprocess.main()
        train.main()
    return folder


def saved() -> dict[str, Any]:
    """What training saved for `export`."""
    content: dict[str, Any] = load_with_checksum(paths.GENERATOR_WEIGHTS)
    return content


def checkpoint() -> Path:
    """The newest checkpoint."""
    return max(paths.RUNS.glob("*/kimg-*.pt"), key=lambda path: path.stat().st_mtime_ns)


def difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    return sum(float((value - second[name]).abs().sum()) for name, value in first.items())


def test_with_more_pictures_auto_goes_on_from_the_newest_run(copy: Project, capsys: pytest.CaptureFixture[str]) -> None:
    before = saved()
    configure(copy, limit=80, start_from="auto", length="0.016 kimg")
    preprocess.main()
    train.main()
    printed = capsys.readouterr().out
    run = before["description"]["run"]
    assert f"starting from 0.1 kimg of fashion-mnist (64 images 28x28x1, 10 classes), run {run}: " in printed
    assert "all 3 layers of the generator, all 3 layers of the discriminator; classes taken: T-shirt/top, " in printed
    started = saved()
    configure(copy, limit=80, length="0.016 kimg")
    train.main()
    assert difference(started["generator"], before["generator"]) < difference(saved()["generator"], before["generator"])


def test_the_model_card_lists_all_the_states_that_a_model_was_started_from(copy: Project) -> None:
    first = saved()["description"]
    for limit in (80, 96):
        configure(copy, limit=limit, start_from="auto")
        preprocess.main()
        train.main()
    export.main()
    card = OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu").card
    assert card.run == saved()["description"]["run"]
    second, oldest = card.lineage
    assert (oldest.run, oldest.data_sha256, oldest.images_seen) == (first["run"], first["data_sha256"], 128)
    assert (second.data, second.images_seen) == ("fashion-mnist", 160)
    assert len({card.data_sha256, second.data_sha256, oldest.data_sha256}) == 3


def test_a_run_that_started_with_auto_is_resumed_bit_for_bit_after_newer_runs(
    copy: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(length: str) -> dict[str, torch.Tensor]:
        configure(copy, start_from="auto", generator_lr=2e-3, length=length)
        train.main()
        weights: dict[str, torch.Tensor] = saved()["generator"]
        return weights

    expected = run("4 epochs")
    shutil.rmtree(paths.RUNS / saved()["description"]["run"])
    run("1 epochs")
    name = saved()["description"]["run"]
    configure(copy, seed=3)
    train.main()
    for old in paths.RUNS.glob("*/kimg-*.pt"):
        if old.parent.name != name:
            old.unlink()
    capsys.readouterr()
    resumed = run("4 epochs")
    assert "resuming from 0.1 kimg" in capsys.readouterr().out
    assert saved()["description"]["run"] == name
    assert all(torch.equal(value, expected[name]) for name, value in resumed.items())


def test_the_content_of_the_file_identifies_the_run_and_its_name_does_not(copy: Project) -> None:
    copies = [shutil.copy(checkpoint(), copy.folder / name) for name in ("a.pt", "b.pt")]
    shutil.copy(paths.GENERATOR_WEIGHTS, copy.folder / "c.pt")
    runs = []
    for name in (*copies, "c.pt"):
        configure(copy, start_from=str(name), length="1 epochs")
        train.main()
        runs.append(saved()["description"]["run"])
    assert runs[0] == runs[1] != runs[2]


def test_the_card_names_the_file_without_its_folder(copy: Project) -> None:
    shutil.copy(checkpoint(), copy.folder / "mine.pt")
    configure(copy, start_from=str(copy.folder / "mine.pt"), length="1 epochs")
    train.main()
    export.main()
    card = OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu").card
    assert card.params["train"]["start_from"] == "mine.pt"
    assert str(copy.folder).encode() not in paths.CANDIDATE_MODEL.read_bytes()


def test_a_start_from_other_classes_names_the_taken_and_the_new_ones(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    for classes, start_from in ((("ant", "bee"), "none"), (("bee", "cat"), "auto")):
        shutil.rmtree(project.folder / "photos", ignore_errors=True)
        for name in classes:
            project.write({f"{index}.png": picture((index, 0, 0)) for index in range(4)}, f"photos/{name}")
        data = {"source": "photos", "channels": 3}
        write_params(project.folder, **tiny(data=data, train={"batch": 4, "start_from": start_from}))
        preprocess.main()
        train.main()
    assert "; classes taken: bee; new classes: cat\n" in capsys.readouterr().out


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def without_description(path: Path) -> None:
    content = load_with_checksum(path)
    del content["description"]
    save_with_checksum(content, path)


class MaliciousPickle:
    """Object that creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return Path.touch, (Path("unpickled"),)  # type: ignore[return-value]


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (
        Path.unlink,
        "start.pt does not exist; it takes a checkpoint in .runs/, or .* or auto for the newest run",
    ),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "start.pt is a folder; name one of its files, such as"),
    "picture": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" * 90), "start.pt is no training state; it takes a"),
    "empty": (lambda path: path.write_bytes(b""), "start.pt is no training state; it takes a checkpoint"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps(MaliciousPickle())), "start.pt is no training state"),
    "weights": (lambda path: torch.save({"a": torch.ones(9)}, path), "start.pt .* damaged or not Mint's; take another"),
    "features": (
        lambda path: save_with_checksum({"a": torch.ones(9)}, path),
        "start.pt is no training state; it takes",
    ),
    "flipped": (flip_bit, "start.pt does not have the checksum .* damaged or not Mint's; take another checkpoint"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-900]), "start.pt .* damaged or not Mint's; take another"),
    "older": (without_description, "start.pt is of another version of Mint, .* train it again with this version"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_training_state_is_an_error_that_says_what_to_take(copy: Project, kind: str) -> None:
    spoil, sentence = FILES[kind]
    path = Path(shutil.copy(checkpoint(), "start.pt"))
    spoil(path)
    configure(copy, start_from="start.pt")
    before = sorted(paths.RUNS.iterdir())
    with pytest.raises(MintError, match=f"^params.yaml: train.start_from: {sentence}") as error:
        train.main()
    assert "\n" not in str(error.value)
    assert not Path("unpickled").exists()
    assert sorted(paths.RUNS.iterdir()) == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"network": FAMILIES["dense"]}, "holds dcgan networks and network.name is dense; set network.name to dcgan"),
        (
            {"network": {"generator_width": 6, "discriminator_width": 6}},
            "no layer of .* has the size that params.yaml asks for; set network.\\* as they were",
        ),
        (
            {"network": {"discriminator_width": 6}, "freeze_discriminator": 1},
            "train.freeze_discriminator would freeze features.0.weight, which .* does not have in this size; lower it",
        ),
    ],
)
def test_a_state_whose_layers_do_not_fit_is_an_error_that_names_the_parameter(
    copy: Project, changes: dict[str, Any], sentence: str
) -> None:
    configure(copy, start_from=str(checkpoint()), **changes)
    with pytest.raises(MintError, match=sentence):
        train.main()


def test_auto_without_an_earlier_run_is_an_error(copy: Project) -> None:
    shutil.rmtree(paths.RUNS)
    configure(copy, start_from="auto")
    with pytest.raises(MintError, match="auto takes the newest run and .runs has none; set it to none, or to a check"):
        train.main()


def test_the_output_of_the_stage_is_refused_as_a_start(copy: Project) -> None:
    configure(copy, start_from=os.path.relpath(paths.GENERATOR_WEIGHTS.absolute()))
    with pytest.raises(MintError, match="output of this stage, which DVC removes first; copy it under another name"):
        train.main()


def test_a_started_run_keeps_averaging_where_the_earlier_one_ended(copy: Project) -> None:
    """The EMA's half-life grows with the images seen; those of the earlier run count."""
    configure(copy, start_from=str(checkpoint()), length="1 epochs")
    train.main()
    assert load_with_checksum(checkpoint())["state"]["trainer"]["earlier_images"] == 128
    assert read_manifest().images == load_params().data.limit


def test_auto_is_decided_again_after_a_start_that_failed(copy: Project) -> None:
    dense: dict[str, Any] = {"network": FAMILIES["dense"], "length": "1 epochs"}
    configure(copy, start_from="auto", **dense)
    with pytest.raises(MintError, match="holds dcgan networks"):
        train.main()
    configure(copy, seed=1, **dense)
    train.main()
    earlier = saved()["description"]["run"]
    configure(copy, start_from="auto", **dense)
    train.main()
    assert saved()["description"]["lineage"][0]["run"] == earlier
