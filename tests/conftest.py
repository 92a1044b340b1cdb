"""Fixtures of all tests: a tiny real model file and a generator loaded from it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from serving.inference.generator import OnnxGenerator
from tests.tiny_model import save, tiny_model

# Tests that call make are a user's shell: `make test` must not pass its own nesting and overrides on to them.
for variable in ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"):
    os.environ.pop(variable, None)

# The same examples in every run, without deadlines; `make fuzz` generates new ones.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize="MINT_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Schedule the slowest file first: started last, it would leave the other processes idle."""
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file with the classes cat, dog and eel, latents of 8 numbers and images of 8x8x3."""
    return save(tiny_model(), tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def generator(model_path: Path) -> OnnxGenerator:
    """The tiny model, loaded on the CPU."""
    return OnnxGenerator.load(model_path, provider="cpu", threads=1)


@pytest.fixture(scope="session")
def generator_without_classes(tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    """A tiny unconditional greyscale model."""
    path = save(tiny_model(channels=1, classes=()), tmp_path_factory.mktemp("model") / "grey.onnx")
    return OnnxGenerator.load(path, provider="cpu", threads=1)


@pytest.fixture(autouse=True)
def _restore_torch_settings() -> Iterator[None]:
    """Undo the process-wide settings of training (denormals flushed to 0) and of benchmarks (one thread)."""
    torch = sys.modules.get("torch")
    threads = None if torch is None else torch.get_num_threads()
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_flush_denormal(False)
    if torch is not None and threads is not None:
        torch.set_num_threads(threads)


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as the service does."""
    return "asyncio"
