"""Export to ONNX: pixels equal to torch's, the model card, reproducible files, errors for bad weights."""

import io
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from serving.errors import MintError
from serving.inference.generator import OnnxGenerator
from tests.serving.conftest import serve_model
from tests.tiny_model import save, tiny_model
from tests.training.project import (
    COMMITTED_PARAMS,
    FAMILIES,
    Project,
    invented_manifest,
    tiny,
    tiny_params,
    write_params,
)
from training import export, networks, paths
from training.data.batches import class_tag_matrix
from training.data.manifest import read_manifest
from training.networks.inference_wrapper import InferenceGenerator
from training.params import Params, load_params
from training.torch_files import save_with_checksum

IMAGES = 24  # of the training data: enough to look for copies among


def trained(project: Project, labels: str = "auto", source: str = "noise.npz", **network: Any) -> Params:
    """A project after training: prepared images of two classes, and weights."""
    rng = np.random.RandomState(0)
    np.savez(
        project.folder / "noise.npz",
        images=rng.randint(0, 256, (IMAGES, 28, 28, 3)).astype(np.uint8),
        labels=np.arange(IMAGES) % 2,
        classes=np.array(["cat", "dog"]),
    )
    project.prepare(source, labels=labels)
    data = {"source": source, "channels": 3, "labels": labels}
    write_params(project.folder, **tiny(data=data, network=network, train={"batch": 2}))
    params = load_params()
    torch.manual_seed(0)
    generator = networks.build_generator(params, class_tag_matrix(params, read_manifest()))
    for _ in range(3):  # moves the running statistics from their defaults, so that folding them shows
        generator(torch.randn(16, 6) * 2, torch.randint(2, (16,)))
    save_with_checksum({"generator": generator.state_dict(), "images_seen": 1234}, paths.GENERATOR_WEIGHTS)
    return params


@pytest.fixture
def exported(project: Project) -> Path:
    trained(project)
    export.main()
    return paths.CANDIDATE_MODEL


@pytest.mark.parametrize(("family", "labels"), [*((name, "auto") for name in FAMILIES), ("dcgan-5", "none")])
def test_the_onnx_file_reproduces_the_pixels_of_torch_at_any_batch_size(
    project: Project, family: str, labels: str
) -> None:
    params = trained(project, labels, **FAMILIES[family], generator_dropout=0.1)
    export.main()
    generator, _ = export.load_generator(params, read_manifest())
    wrapped = InferenceGenerator(generator)
    exported = OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu")
    assert exported.card.classes == (("cat", "dog") if labels == "auto" else ())
    for batch in (1, 7, 64):
        z, label = exported.latent_space.sample(list(range(batch)))
        expected = wrapped(torch.from_numpy(z), None if label is None else torch.from_numpy(label)).numpy()
        assert np.abs(exported.images(z, label).astype(int) - expected).max() <= 1


def test_inputs_outputs_and_opset_are_those_of_the_file_format(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    inputs = {node.name: (node.type, node.shape) for node in session.get_inputs()}
    assert inputs == {"z": ("tensor(float)", ["N", 6]), "label": ("tensor(int64)", ["N"])}
    (output,) = session.get_outputs()
    assert (output.name, output.type, output.shape[1:]) == ("images", "tensor(uint8)", [28, 28, 3])

    model = onnx.load(exported)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", load_params().export.opset)]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_the_file_contains_no_path_of_the_exporting_machine(exported: Path) -> None:
    content = exported.read_bytes()
    for folder in (Path(export.__file__).parents[1], Path(torch.__file__).parents[1], Path.cwd()):
        assert str(folder).encode() not in content


def test_the_model_card_describes_the_training_run(exported: Path) -> None:
    card, params = OnnxGenerator.load(exported, provider="cpu").card, load_params()
    assert card.images_seen == 1234
    assert card.data_sha256 == read_manifest().data_sha256
    assert card.params == params.model_dump(mode="json", exclude={"promote"})
    assert card.mean_latent == (0.0,) * 6
    assert card.memorised == export.memorised(exported, read_manifest())


def test_the_card_counts_the_images_that_are_near_copies_of_training_images(project: Project) -> None:
    copier = save(tiny_model(resolution=28, classes=()), project.folder / "copier.onnx")
    images, _ = OnnxGenerator.load(copier, provider="cpu").generate(list(range(50)))
    np.savez("its-own.npz", images=images)
    np.savez("others.npz", images=np.random.RandomState(0).randint(0, 256, images.shape).astype(np.uint8))
    # Other seeds of a tiny network may come as near to these images as copies do.
    assert (export.memorised(copier, project.prepare("its-own.npz")) or 0) >= 50 / 500
    assert export.memorised(copier, project.prepare("others.npz")) == 0


def test_too_few_training_images_leave_the_share_of_copies_open(project: Project) -> None:
    np.savez("few.npz", images=np.random.RandomState(0).randint(0, 256, (19, 28, 28, 3)).astype(np.uint8))
    model = save(tiny_model(resolution=28, classes=()), project.folder / "model.onnx")
    assert export.memorised(model, project.prepare("few.npz")) is None


def test_name_and_licence_default_to_those_of_the_data_and_paths_are_shortened(project: Project) -> None:
    source = project.folder / "noise.npz"
    rows = "".join(f"{index:08d},{('cat', 'dog')[index % 2]}\n" for index in range(IMAGES))
    labels = project.folder / "mine" / "tags.csv"
    labels.parent.mkdir()
    labels.write_text(f"file,tag\n{rows}")
    trained(project, str(labels), str(source))
    export.main()
    card = OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu").card
    assert (card.name, card.licence) == ("noise", "licence not stated")
    assert (card.params["data"]["source"], card.params["data"]["labels"]) == ("noise.npz", "tags.csv")
    assert str(project.folder).encode() not in paths.CANDIDATE_MODEL.read_bytes()


def test_name_and_licence_in_params_override_those_of_the_data(project: Project) -> None:
    params = load_params(COMMITTED_PARAMS)
    changed = params.model_copy(
        update={"name": "moths", "export": params.export.model_copy(update={"licence": "CC BY 4.0"})}
    )
    torch.manual_seed(0)
    manifest = invented_manifest()
    generator = networks.build_generator(changed, None)
    card = export.model_card(changed, manifest, generator.eval(), {"images_seen": 1})
    assert (card.name, card.licence) == ("moths", "CC BY 4.0")
    card = export.model_card(params, manifest, generator, {"images_seen": 1})
    assert (card.name, card.licence) == (manifest.name, manifest.licence)


def test_the_git_revision_is_the_commit_marked_dirty_when_files_differ(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export.git_revision() is None
    for command in ("init -q", "-c user.name=t -c user.email=t@example.org commit -q --allow-empty -m first"):
        subprocess.run(["git", *command.split()], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert export.git_revision() == head
    Path("file").write_text("one")
    subprocess.run(["git", "add", "file"], check=True)
    assert export.git_revision() == f"{head}-dirty"
    monkeypatch.setenv("PATH", str(project.folder))  # where git is not installed
    assert export.git_revision() is None


def test_the_same_weights_give_the_same_file(project: Project) -> None:
    trained(project)
    export.main()
    first = paths.CANDIDATE_MODEL.read_bytes()
    export.main()
    assert paths.CANDIDATE_MODEL.read_bytes() == first


def test_missing_weights_raise_an_error_that_names_the_command(project: Project) -> None:
    trained(project)
    paths.GENERATOR_WEIGHTS.unlink()
    with pytest.raises(MintError, match="models/generator.pt does not exist; run dvc repro"):
        export.main()


@pytest.mark.parametrize("damage", ["cut", "empty", "pickled", "key missing", "bit flipped"])
def test_damaged_weights_raise_an_error_that_names_the_command(project: Project, damage: str) -> None:
    trained(project)
    content = paths.GENERATOR_WEIGHTS.read_bytes()
    middle = len(content) // 2
    damaged = {
        "cut": content[:-50],
        "empty": b"",
        "pickled": pickle.dumps({"generator": {}, "images_seen": 1}),
        "bit flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }
    if damage == "key missing":
        torch.save({"images_seen": 1234}, paths.GENERATOR_WEIGHTS)
    else:
        paths.GENERATOR_WEIGHTS.write_bytes(damaged[damage])
    with pytest.raises(MintError, match=r"models/generator.pt (is cut|does not have the checksum) .*; run dvc repro"):
        export.main()
    assert not paths.CANDIDATE_MODEL.exists()


def test_weights_of_another_network_are_refused(project: Project) -> None:
    params = trained(project)
    data = params.data.model_dump()
    write_params(project.folder, **tiny(data=data, network={"generator_width": 5}, train={"batch": 2}))
    with pytest.raises(MintError, match="of another network than params.yaml describes"):
        export.main()


def test_a_file_that_differs_from_torch_is_not_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(project)
    export.main()
    before = paths.CANDIDATE_MODEL.read_bytes()
    monkeypatch.setattr(export, "MAX_PIXEL_DIFFERENCE", -1)  # no file can pass
    with pytest.raises(MintError, match="differs from torch by up to ./255 and was not kept"):
        export.main()
    assert paths.CANDIDATE_MODEL.read_bytes() == before


@pytest.mark.parametrize("family", ["dcgan-4", "residual"])
def test_512_px_is_exported_and_served(tmp_path: Path, family: str) -> None:
    width = FAMILIES[family].get("generator_width", 1)
    network = FAMILIES[family] | {"generator_width": width, "discriminator_width": width, "condition": "none"}
    network |= {"depth": 1, "widths": [8] * 8} if family == "residual" else {}
    params = tiny_params(data={"resolution": 512, "channels": 3}, network=network)
    torch.manual_seed(0)
    generator = networks.build_generator(params, None)
    manifest = invented_manifest(resolution=512, channels=3)
    card = export.model_card(params, manifest, generator.eval().requires_grad_(False), {"images_seen": 0})
    path = tmp_path / "generator.onnx"
    export.write_onnx(generator, card, params.export.opset, path)
    assert export.max_pixel_difference(generator, path, (1, 3)) <= export.MAX_PIXEL_DIFFERENCE
    for call in serve_model(path):
        image = Image.open(io.BytesIO(call("GET", "/images/7.png").content))
        assert image.size == (512, 512)
