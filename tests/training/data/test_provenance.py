"""Provenance: model names and licences from the data, without paths."""

import shutil
from pathlib import Path

import pytest

from tests.training.project import COMMITTED_PARAMS, Project
from training.data.provenance import KNOWN_DATASETS, UNKNOWN_LICENCE, model_name, provenance
from training.data.sources.torchvision_datasets import DATASETS, PREFIX
from training.params import Params, load_params

EMBEDDED = COMMITTED_PARAMS.parent / "data" / "fashion-mnist-10k"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("flowers", "flowers"),
        ("My Cats (2).zip", "my-cats-2"),
        ("Blüten.tar.gz", "bluten"),
        ("faces.TGZ", "faces"),
        ("v1.5_final.npz", "v1.5_final"),
        ("..hidden--", "hidden"),
        ("花", "images"),
        (".zip", "images"),
        ("a'b\"c$d#e\nf", "a-b-c-d-e-f"),
        ("x" * 200, "x" * 64),
    ],
)
def test_any_base_name_becomes_a_valid_model_name(text: str, name: str) -> None:
    assert model_name(text) == name
    written = load_params(COMMITTED_PARAMS).model_dump(mode="json")
    assert Params.model_validate(written | {"name": name}).name == name


def test_the_embedded_images_keep_their_name_and_licence_at_any_path(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(EMBEDDED, copy)
    for folder in (EMBEDDED, copy):
        found = provenance(str(folder))
        assert (found.source, found.name) == (folder.name, "fashion-mnist")
        assert found.licence == "Trained on Fashion-MNIST (MIT, Zalando SE)"


def test_other_images_in_the_embedded_folder_do_not_inherit_its_licence(tmp_path: Path) -> None:
    folder = tmp_path / "fashion-mnist-10k"
    shutil.copytree(EMBEDDED, folder)
    (folder / "mine-images-idx3-ubyte").write_bytes(b"others beside them")
    assert provenance(str(folder)).licence == UNKNOWN_LICENCE
    (folder / "mine-images-idx3-ubyte").unlink()
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(b"others in their place")
    assert provenance(str(folder)).licence == UNKNOWN_LICENCE


def test_the_provenance_holds_only_the_base_name_of_the_source(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write({"a.png": b""}, under="home/jane/Cat Photos")
    monkeypatch.setenv("HOME", str(project.folder / "home/jane"))
    for source in ("home/jane/Cat Photos", str(project.folder / "home/jane/Cat Photos/"), "~/Cat Photos"):
        found = provenance(source)
        assert (found.source, found.name, found.licence) == ("Cat Photos", "cat-photos", UNKNOWN_LICENCE)
    monkeypatch.chdir("home/jane/Cat Photos")
    assert provenance(".").source == "Cat Photos"
    assert provenance("/").name == "images"


def test_every_torchvision_data_set_has_its_own_name_and_licence() -> None:
    assert set(KNOWN_DATASETS) == set(DATASETS)
    stated = [provenance(PREFIX + name) for name in DATASETS]
    assert len({found.name for found in stated}) == len(stated)
    assert all(found.licence != UNKNOWN_LICENCE for found in stated)
