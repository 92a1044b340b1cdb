"""The environment of the service is read once, and its mistakes are named."""

from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.settings import Settings


def test_the_defaults_serve_the_committed_model() -> None:
    settings = Settings.from_environment({"MINT_SERVICE_HOST": "10.0.0.1"})
    assert (settings.model, settings.provider, settings.max_images) == (Path("models/generator.onnx"), "auto", 256)


def test_variables_change_them() -> None:
    settings = Settings.from_environment({"MINT_MODEL": "a.onnx", "MINT_PROVIDER": "cpu", "MINT_MAX_IMAGES": "9"})
    assert (settings.model, settings.provider, settings.max_images) == (Path("a.onnx"), "cpu", 9)


@pytest.mark.parametrize(
    ("name", "value"), [("MINT_MAX_IMAGES", "0"), ("MINT_MAX_IMAGES", "x"), ("MINT_PROVIDER", "gpu")]
)
def test_a_variable_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}={value} does not work: input should be"):
        Settings.from_environment({name: value})
