"""Test projects: a folder with a params.yaml, and images to put there."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from training import paths, preprocess
from training.data.manifest import Counts, DataError, Manifest, read_manifest
from training.data.sources import Source, open_source
from training.param_sections import DataParams
from training.params import Params, load_params

COMMITTED_PARAMS = Path(__file__).parents[2] / paths.PARAMS
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
# Networks and training that take milliseconds, with every option off, independent of the committed file.
TINY: dict[str, dict[str, Any]] = {
    "data": {"resolution": 28, "channels": 1, "limit": None},
    "network": {
        "name": "dcgan",
        "kernel": 4,
        "depth": None,
        "latent_dim": 6,
        "generator_width": 4,
        "discriminator_width": 4,
        "widths": None,
        "generator_dropout": 0.0,
        "discriminator_dropout": 0.0,
        "discriminator_norm": "none",
        "spectral_norm": False,
        "minibatch_std": False,
        "condition": "projection",
    },
    "objective": {
        "name": "non-saturating",
        "weight_clip": None,
        "gradient_penalty": 0.0,
        "r1": 0.0,
        "r2": 0.0,
        "energy_distance": 0.0,
        "mismatched": False,
    },
    "stabilise": {
        "label_flip": 0.0,
        "label_smoothing": 0.0,
        "label_noise": 0.0,
        "instance_noise": 0.0,
        "instance_noise_kimg": 0.0,
        "augment": "none",
        "ada_kimg": 500.0,
        "packing": 1,
        "replay": 0,
        "gradient_clip": None,
    },
    "train": {
        "length": "1 epochs",
        "batch": 8,
        "generator_optimizer": "adam",
        "discriminator_optimizer": "adam",
        "generator_lr": 1e-3,
        "discriminator_lr": 1e-3,
        "beta1": 0.5,
        "beta2": 0.99,
        "burn_in": {"kimg": 0.0, "penalty_factor": 1.0, "rate_factor": 1.0, "beta2": 0.9},
        "generator_steps": 1,
        "discriminator_steps": 1,
        "horizontal_flip": 0.0,
        "rotation": 0.0,
        "ema_half_life_kimg": 10.0,
        "seed": 0,
        "device": "cpu",
    },
}
FAMILIES: dict[str, dict[str, Any]] = {
    "dense": {"name": "dense", "kernel": None},
    "upsampling": {"name": "upsampling", "kernel": None},
    "dcgan-4": {"name": "dcgan", "kernel": 4},
    "dcgan-5": {"name": "dcgan", "kernel": 5},
    "residual": {"name": "residual", "kernel": None, "generator_width": 8, "discriminator_width": 8},
}


def tiny(**sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """TINY with other values, by section; nested sections such as train.burn_in are replaced as a whole."""
    return {name: TINY.get(name, {}) | sections.get(name, {}) for name in TINY | sections}


def committed_params() -> dict[str, Any]:
    """Load the committed params.yaml, with libyaml because it is ten times as fast and nearly every test needs it."""
    params: dict[str, Any] = yaml.load(COMMITTED_PARAMS.read_text(), Loader=yaml.CSafeLoader)
    return params


def tiny_params(**sections: dict[str, Any]) -> Params:
    """Validated parameters of `tiny`."""
    params = committed_params()
    return Params.model_validate(params | {name: params[name] | values for name, values in tiny(**sections).items()})


def write_params(folder: Path, **overrides: Any) -> Path:
    """Write the committed params.yaml with other values, by section: data={"limit": 3}."""
    params = committed_params()
    for section, values in overrides.items():
        params[section] = params[section] | values
    path = folder / paths.PARAMS.name
    path.write_text(yaml.dump(params, Dumper=yaml.CSafeDumper))
    return path


def invented_manifest(*class_tags: tuple[str, ...], **changes: Any) -> Manifest:
    """Manifest of ten grey images that do not exist, with classes of these tags."""
    defaults: dict[str, Any] = {
        "source": "nowhere",
        "name": "nowhere",
        "licence": "nobody's",
        "images": 10,
        "resolution": 28,
        "channels": 1,
        "classes": tuple(" + ".join(tags) for tags in class_tags),
        "class_tags": class_tags,
        "images_per_class": {},
        "empty_classes": (),
        "data_sha256": "0" * 64,
        "source_sha256": "0" * 64,
        "counts": Counts(files=10, candidates=10),
        "skipped": (),
    }
    return Manifest.model_validate(defaults | changes)


@dataclass(frozen=True)
class Project:
    """A project's folder, which is the working directory of the test."""

    folder: Path

    def data(self, source: str = "photos", **overrides: Any) -> DataParams:
        """Write a params.yaml for 28x28 RGB images of a source; returns its validated data section."""
        data = {"source": source, "resolution": 28, "channels": 3} | overrides
        return load_params(write_params(self.folder, **tiny(data=data, train={"batch": 2}))).data

    def prepare(self, source: str = "photos", **overrides: Any) -> Manifest:
        """Run the preprocess stage."""
        self.data(source, **overrides)
        preprocess.main()
        return read_manifest()

    @contextmanager
    def open(self, source: str = "photos", **overrides: Any) -> Iterator[Source]:
        """Open the source."""
        with open_source(self.data(source, **overrides)) as found:
            yield found

    def labels(self, source: str = "photos", **overrides: Any) -> dict[str, str | None]:
        """Class name of each item."""
        with self.open(source, **overrides) as found:
            return {i.name: None if i.label is None else found.classes[i.label] for i in found.items}

    def open_error(self, source: str = "photos", **overrides: Any) -> str:
        """Open an invalid source; returns its one-line error."""
        with pytest.raises(DataError) as error, self.open(source, **overrides):
            pass
        assert "\n" not in str(error.value)
        return str(error.value)

    def write(self, files: dict[str, bytes], under: str = "photos") -> Path:
        """Write files by relative name; returns their folder."""
        for name, content in files.items():
            path = self.folder / under / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return self.folder / under

    def images(self) -> NDArray[np.uint8]:
        """The prepared images [N, H, W, C]."""
        images: NDArray[np.uint8] = np.load(paths.IMAGES)
        return images

    def outputs(self) -> dict[str, bytes]:
        """Contents of all files in data/prepared, by name."""
        return {path.name: path.read_bytes() for path in paths.PREPARED.iterdir()}


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Encode an image to the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(colour: tuple[int, int, int] = RED, size: tuple[int, int] = (40, 40), kind: str = "PNG") -> bytes:
    """Encode an image of one colour."""
    return encoded(Image.new("RGB", size, colour), kind)
