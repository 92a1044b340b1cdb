"""A folder with a params.yaml, as someone has who uses Mint; and pictures to put there."""

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
from training.manifest import DataError, Manifest, read_manifest
from training.params import DataParams, load_params
from training.sources import Source, open_source

COMMITTED_PARAMS = Path(__file__).parents[2] / paths.PARAMS
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def write_params(folder: Path, **overrides: Any) -> Path:
    """The committed params.yaml with other values, which are given by section: data={"limit": 3}."""
    params = yaml.safe_load(COMMITTED_PARAMS.read_text())
    for section, values in overrides.items():
        params[section] = params[section] | values
    path = folder / paths.PARAMS.name
    path.write_text(yaml.safe_dump(params))
    return path


@dataclass(frozen=True)
class Project:
    """The project's folder; the current one while a test uses it."""

    folder: Path

    def data(self, source: str = "photos", **overrides: Any) -> DataParams:
        """Writes params.yaml for small RGB squares of a source, and returns its data section as the stages read it."""
        data = {"source": source, "resolution": 28, "channels": 3} | overrides
        return load_params(write_params(self.folder, data=data, train={"batch": 2})).data

    def prepare(self, source: str = "photos", **overrides: Any) -> Manifest:
        """Runs the stage."""
        self.data(source, **overrides)
        preprocess.main()
        return read_manifest()

    @contextmanager
    def open(self, source: str = "photos", **overrides: Any) -> Iterator[Source]:
        """The source's items."""
        with open_source(self.data(source, **overrides)) as found:
            yield found

    def labels(self, source: str = "photos", **overrides: Any) -> dict[str, str | None]:
        """The class name of each item."""
        with self.open(source, **overrides) as found:
            return {i.name: None if i.label is None else found.classes[i.label] for i in found.items}

    def refusal(self, source: str = "photos", **overrides: Any) -> str:
        """The one sentence with which a source is refused."""
        with pytest.raises(DataError) as error, self.open(source, **overrides):
            pass
        assert "\n" not in str(error.value)
        return str(error.value)

    def write(self, files: dict[str, bytes], under: str = "photos") -> Path:
        """Writes files by relative name."""
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
        """The content of everything in data/prepared."""
        return {path.name: path.read_bytes() for path in paths.PREPARED.iterdir()}


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(colour: tuple[int, int, int] = RED, size: tuple[int, int] = (40, 40), kind: str = "PNG") -> bytes:
    """The file of a picture in one colour."""
    return encoded(Image.new("RGB", size, colour), kind)
