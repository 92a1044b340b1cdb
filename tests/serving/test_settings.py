"""The environment of the service is read once, its mistakes are named, and its secrets stay secret."""

from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.keys import key_hash
from serving.settings import Settings

HASHES = [key_hash("one"), key_hash("two")]


@pytest.fixture(autouse=True)
def _no_other_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MINT_{name.upper()}", raising=False)


def test_the_defaults_serve_the_committed_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_SERVICE_HOST", "10.0.0.1")  # as Kubernetes sets it for a service of that name
    settings = Settings.from_environment()
    assert (settings.model, settings.provider, settings.max_images) == (Path("models/generator.onnx"), "auto", 256)
    assert settings.api_keys == settings.cors_origins == ()


def test_variables_change_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_MODEL", "a.onnx")
    monkeypatch.setenv("MINT_MAX_IMAGES", "9")
    monkeypatch.setenv("MINT_CORS_ORIGINS", "https://a.example, https://b.example")
    settings = Settings.from_environment()
    assert (settings.model, settings.max_images) == (Path("a.onnx"), 9)
    assert settings.cors_origins == ("https://a.example", "https://b.example")


def test_every_variable_is_printed_and_keys_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_API_KEYS", ",".join(HASHES))
    lines = Settings.from_environment().lines()
    assert [line.split("=")[0] for line in lines] == [f"MINT_{name.upper()}" for name in Settings.model_fields]
    assert "MINT_MAX_IMAGES=256" in lines
    assert "MINT_API_KEYS=**********,**********" in lines


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MINT_MAX_IMAGES", "0"),
        ("MINT_MAX_IMAGES", "x"),
        ("MINT_PROVIDER", "gpu"),
        ("MINT_TIMEOUT", "0"),
        ("MINT_DRAIN", "-1"),
        ("MINT_THREADS", "1.5"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"^{name}={value} does not work \(input should be .*\); it is "):
        Settings.from_environment()


def test_a_key_that_is_not_hashed_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_API_KEYS", f"{HASHES[0]},hunter2")
    with pytest.raises(SettingsError, match="each must be 64 hexadecimal digits") as error:
        Settings.from_environment()
    assert "hunter2" not in str(error.value)


def test_a_queue_that_no_large_request_fits_into_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_MAX_QUEUE", "8")
    with pytest.raises(SettingsError, match=r"MINT_MAX_QUEUE=8 is smaller than .*\(MINT_MAX_IMAGES=256\)"):
        Settings.from_environment()


def test_the_readme_lists_every_variable_with_its_default() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for line in Settings().lines():
        name, _, default = line.partition("=")
        shown = {"": "none"}.get(default, default.removesuffix(".0"))
        assert f"| `{name}` | `{shown}` |" in readme or f"| `{name}` | {shown} |" in readme, line
