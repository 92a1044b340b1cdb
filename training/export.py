"""Stage 3: export of the EMA generator to models/candidate/generator.onnx, with its model card embedded.

The card says how many of the file's own images are near-copies of training images, so that who gets the file knows.

python -m training.export
"""

import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from serving.encoding.transparency import composite
from serving.errors import MintError
from serving.files import atomic_write
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import Images, Labels, Latents
from serving.inference.model_card import CARD_KEY, CHECKSUM_KEY, CHECKSUM_PLACEHOLDER, ModelCard, embed_checksum
from training import networks, paths
from training.data.batches import class_tag_matrix
from training.data.manifest import Manifest, read_arrays, read_manifest
from training.data.provenance import AUTO, base_name
from training.evaluation.memorisation import COPY_TEST_IMAGES, MIN_TRAINING_IMAGES, near_copies
from training.networks.directions import principal_directions
from training.networks.inference_wrapper import InferenceGenerator, fold_for_inference
from training.params import Params, changed_params, load_params
from training.stage import run_stage
from training.torch_files import DamagedFileError, load_with_checksum

COMPARED_BATCH_SIZES = (1, 7, 64)
TORCH_BATCH = 16
MAX_PIXEL_DIFFERENCE = 1  # of 255; different float arithmetic may round a pixel differently, but no more


def main() -> None:
    """Write the ONNX file and compare its pixels with torch's before it replaces the previous one."""
    params = load_params()
    manifest = read_manifest()
    generator, state = load_generator(params, manifest)
    params = trained_params(params, state)
    card = model_card(params, manifest, generator, state)
    with atomic_write(paths.CANDIDATE_MODEL) as path:
        write_onnx(generator, card, params.export.opset, path)
        difference = max_pixel_difference(generator, path, COMPARED_BATCH_SIZES)
        if difference > MAX_PIXEL_DIFFERENCE:
            raise MintError(
                f"the exported file differs from torch by up to {difference}/255 and was not kept; "
                "set export.opset in params.yaml to another one and report this as a defect"
            )
        path.write_bytes(with_card(onnx.load(path), card.model_copy(update={"memorised": memorised(path, manifest)})))
    size = paths.CANDIDATE_MODEL.stat().st_size / 1e6
    print(f"exported {paths.CANDIDATE_MODEL}  {size:.1f} MB  {card.shape}  max |torch - onnx| = {difference}/255")


def load_generator(params: Params, manifest: Manifest) -> tuple[networks.Generator, dict[str, Any]]:
    """The EMA generator that `train` wrote, in evaluation mode, and the content of that file.

    Where `train` found the last checkpoint clearly worse than the best one, and export.checkpoint is `best`, both are
    of that one. Raises MintError when the file is missing or damaged, or when params.yaml describes another network.
    """
    try:
        state = load_with_checksum(paths.GENERATOR_WEIGHTS)
    except FileNotFoundError:
        raise MintError(f"{paths.GENERATOR_WEIGHTS} does not exist; run dvc repro to train one") from None
    except DamagedFileError as error:
        raise MintError(f"{error}; run dvc repro, which makes it again from the last checkpoint") from None
    chosen = state | state.get("best", {}) if params.export.checkpoint == "best" else state
    params = trained_params(params, state)
    generator = networks.build_generator(params, class_tag_matrix(params, manifest))
    try:
        generator.load_state_dict(chosen["generator"])
    except RuntimeError:
        raise MintError(
            f"{paths.GENERATOR_WEIGHTS} is of another network than params.yaml describes; run dvc repro to train again"
        ) from None
    return generator.eval().requires_grad_(False), chosen


def trained_params(params: Params, state: dict[str, Any]) -> Params:
    """Parameters that the weights were trained with in the end: those of params.yaml, as `heal` left them."""
    for act in state.get("acts", ()):
        params = changed_params(params, act["values"])
    return params


def model_card(params: Params, manifest: Manifest, generator: networks.Generator, trained: dict[str, Any]) -> ModelCard:
    """Model card of the exported file. trained: content of the file that `train` wrote."""
    description = trained.get("description", {})  # missing in files of older versions
    return ModelCard(
        name=manifest.name if params.name == AUTO else params.name,
        latent_dim=params.network.latent_dim,
        resolution=params.data.resolution,
        channels=params.data.channels,
        background=params.data.background,
        classes=() if params.network.condition == "none" else manifest.classes,
        mean_latent=(0.0,) * params.network.latent_dim,  # z is standard normal, with no mapping network
        directions=principal_directions(generator),
        images_seen=trained["images_seen"],
        data_sha256=manifest.data_sha256,
        run=description.get("run"),
        lineage=description.get("lineage", ()),
        git_revision=git_revision(),
        params=public_params(params, manifest),
        licence=manifest.licence if params.export.licence == AUTO else params.export.licence,
    )


def public_params(params: Params, manifest: Manifest) -> dict[str, Any]:
    """params.yaml for the model card, which is public: paths are cut to their last component.

    Without `promote`, which says nothing of the model: another tolerance must not make another file of it.
    """
    labels, start = (
        value if value in (AUTO, "none") else base_name(value)
        for value in (params.data.labels, params.train.start_from)
    )
    return {
        "name": params.name,
        "data": params.data.model_dump(mode="json") | {"source": manifest.source, "labels": labels},
        "network": params.network.model_dump(mode="json"),
        "objective": params.objective.model_dump(mode="json"),
        "stabilise": params.stabilise.model_dump(mode="json"),
        "train": params.train.model_dump(mode="json") | {"start_from": start},
        "export": params.export.model_dump(mode="json"),
        "evaluate": params.evaluate.model_dump(mode="json"),
    }


def git_revision() -> str | None:
    """Commit of the checkout, with `-dirty` appended when code, data or parameters differ from it.

    None outside a checkout or without git: a long training run must not fail over this. Outputs of the pipeline are
    ignored, as they differ after every run.
    """
    head = _git("rev-parse", "HEAD")
    outputs = [f":!{path}" for path in (paths.MODEL.parent, paths.METRICS.parent, "dvc.lock")]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *outputs)
    return f"{head}-dirty" if head and changed else head or None


def _git(*arguments: str) -> str:
    git = shutil.which("git")
    return subprocess.run([git, *arguments], capture_output=True, text=True).stdout.strip() if git else ""


def write_onnx(generator: networks.Generator, card: ModelCard, opset: int, path: Path) -> None:
    """Write the generator as ONNX: uint8 pixels, batch norm folded, dynamic batch size, model card embedded."""
    wrapped = InferenceGenerator(fold_for_inference(generator)).eval()
    inputs: dict[str, Any] = {"z": torch.zeros(2, card.latent_dim)}
    if card.classes:
        inputs["label"] = torch.zeros(2, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's internals
        program: Any = torch.onnx.export(
            wrapped,
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["images"],
            dynamic_shapes={name: {0: "N"} for name in inputs},
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    model = strip_metadata(program.model_proto)
    content = with_card(model, card)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(content)


def with_card(model: onnx.ModelProto, card: ModelCard) -> bytes:
    """Content of a model file with this card in its metadata, and the file's checksum."""
    onnx.helper.set_model_props(model, {CARD_KEY: card.model_dump_json(), CHECKSUM_KEY: CHECKSUM_PLACEHOLDER})
    return embed_checksum(model.SerializeToString())


def memorised(path: Path, manifest: Manifest) -> float | None:
    """Share of the exported file's images that are near-copies of training images; None for too few of those."""
    images, _ = read_arrays(manifest)
    if len(images) < MIN_TRAINING_IMAGES:
        return None
    exported = OnnxGenerator.load(path)
    generated, _ = exported.generate(list(range(COPY_TEST_IMAGES)))
    copies = near_copies(composite(generated, exported.card.background), composite(images, exported.card.background))
    return float(copies.mean())


def strip_metadata(model: Any) -> Any:
    """Remove the exporter's metadata in place: its stack traces contain paths of this machine."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    return model


def max_pixel_difference(generator: nn.Module, path: Path, batch_sizes: tuple[int, ...]) -> int:
    """Largest pixel difference between torch and ONNX Runtime, in 1/255, over batches of these sizes."""
    exported = OnnxGenerator.load(path, provider="cpu")
    difference = 0
    for size in batch_sizes:
        z, label = exported.latent_space.sample(list(range(size)))
        expected = torch_images(generator, z, label).astype(np.int16)
        difference = max(difference, int(np.abs(expected - exported.images(z, label)).max()))
    return difference


@torch.no_grad()
def torch_images(generator: nn.Module, z: Latents, label: Labels | None) -> Images:
    """Images uint8 [N, H, W, C] of torch, TORCH_BATCH at a time: at 512 px more would take gigabytes."""
    wrapped = InferenceGenerator(generator)
    images = []
    for start in range(0, len(z), TORCH_BATCH):
        rows = slice(start, start + TORCH_BATCH)
        labels = None if label is None else torch.from_numpy(label[rows])
        images.append(wrapped(torch.from_numpy(z[rows]), labels))
    pixels: Images = torch.cat(images).numpy()
    return pixels


if __name__ == "__main__":
    run_stage(main)
