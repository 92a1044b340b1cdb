"""Settings: defaults, environment variables, errors that name the variable, masked secrets."""

import os
from ipaddress import ip_network
from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.http.auth import key_hash
from serving.settings import Settings

HASHES = [key_hash("one"), key_hash("two")]


@pytest.fixture(autouse=True)
def _no_other_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("MINT_"):
            monkeypatch.delenv(name)


def test_the_defaults_serve_the_committed_model() -> None:
    settings = Settings.from_environment()
    assert (settings.model, settings.provider, settings.max_images) == (Path("models/generator.onnx"), "auto", 256)
    assert settings.api_keys == settings.cors_origins == ()


def test_environment_variables_override_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_MODEL", "a.onnx")
    monkeypatch.setenv("MINT_MAX_IMAGES", "9")
    monkeypatch.setenv("MINT_CORS_ORIGINS", "https://a.example, https://b.example")
    settings = Settings.from_environment()
    assert (settings.model, settings.max_images) == (Path("a.onnx"), 9)
    assert settings.cors_origins == ("https://a.example", "https://b.example")


def test_every_variable_is_listed_and_keys_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_an_invalid_value_names_the_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"^{name}={value} does not work \(input should be .*\); it is "):
        Settings.from_environment()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("MINT_API_KEY_S", "MINT_API_KEYS"),
        ("MINT_APIKEYS", "MINT_API_KEYS"),
        ("MINT_KEYS", "MINT_API_KEYS"),
        ("mint_max_image", "MINT_MAX_IMAGES"),
        ("MINT_TRUSTED_PROXY", "MINT_TRUSTED_PROXIES"),
    ],
)
def test_an_unknown_variable_is_an_error_with_the_nearest_name(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"^{name} is not a variable of this service; did you mean {nearest}\\?$"):
        Settings.from_environment()


@pytest.mark.parametrize("value", ["", " ", ",", " , "])
@pytest.mark.parametrize("name", ["MINT_API_KEYS", "MINT_CORS_ORIGINS", "MINT_TRUSTED_PROXIES"])
def test_a_blank_variable_is_an_error(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}"):
        Settings.from_environment()


def test_the_client_variable_is_not_mistaken_for_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_API_KEY", "secret")
    with pytest.raises(SettingsError, match="MINT_API_KEY is for clients; .* in MINT_API_KEYS$"):
        Settings.from_environment()
    monkeypatch.setenv("MINT_API_KEYS", HASHES[0])
    assert len(Settings.from_environment().api_keys) == 1


def test_variables_that_kubernetes_injects_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in ("MINT", "MINT_FLOWERS_64"):
        monkeypatch.setenv(f"{service}_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setenv(f"{service}_SERVICE_PORT", "3000")
        monkeypatch.setenv(f"{service}_SERVICE_PORT_HTTP", "3000")
        monkeypatch.setenv(f"{service}_PORT", "tcp://10.0.0.1:3000")
        monkeypatch.setenv(f"{service}_PORT_3000_TCP", "tcp://10.0.0.1:3000")
        for suffix, value in (("PROTO", "tcp"), ("PORT", "3000"), ("ADDR", "10.0.0.1")):
            monkeypatch.setenv(f"{service}_PORT_3000_TCP_{suffix}", value)
    assert Settings.from_environment() == Settings()
    monkeypatch.setenv("MINT_PORT", "8080")  # set in the belief that it chooses the port
    with pytest.raises(SettingsError, match="^MINT_PORT is not a variable"):
        Settings.from_environment()


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://Shop.Example/", "https://shop.example"),
        ("HTTPS://shop.example:443", "https://shop.example"),
        ("http://shop.example:80/", "http://shop.example"),
        ("http://shop.example:8080", "http://shop.example:8080"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("*", "*"),
    ],
)
def test_an_origin_is_normalised_as_browsers_write_it(given: str, origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_CORS_ORIGINS", given)
    assert Settings.from_environment().cors_origins == (origin,)


@pytest.mark.parametrize(
    "given",
    [
        "shop.example",
        "https://shop.example/page",
        "https://shop.example?x",
        "https://me@shop.example",
        "https://shop.example:port",
        "https://shop.example:99999",
        "https://[::1",
        "https://caf\u00e9.example",
        "ftp://shop.example",
        "https://",
        "null",
    ],
)
def test_an_origin_that_no_browser_sends_is_an_error(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_CORS_ORIGINS", f"https://a.example,{given}")
    with pytest.raises(SettingsError, match=r"^MINT_CORS_ORIGINS=.* \(each must be a scheme, a host"):
        Settings.from_environment()


def test_trusted_proxies_are_addresses_or_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_TRUSTED_PROXIES", "10.0.0.1/8, ::1")
    settings = Settings.from_environment()
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert "MINT_TRUSTED_PROXIES=10.0.0.0/8,::1/128" in settings.lines()
    monkeypatch.setenv("MINT_TRUSTED_PROXIES", "proxy")
    with pytest.raises(SettingsError, match=r"^MINT_TRUSTED_PROXIES=proxy does not work \(each must be an address"):
        Settings.from_environment()


def test_an_unhashed_key_is_an_error_that_does_not_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_API_KEYS", f"{HASHES[0]},hunter2")
    with pytest.raises(SettingsError, match="each must be 64 hexadecimal digits") as error:
        Settings.from_environment()
    assert "hunter2" not in str(error.value)


def test_a_queue_smaller_than_the_largest_request_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_MAX_QUEUE", "8")
    with pytest.raises(SettingsError, match=r"MINT_MAX_QUEUE=8 is smaller than .*\(MINT_MAX_IMAGES=256\)"):
        Settings.from_environment()


def test_the_readme_lists_every_variable_with_its_default() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for line in Settings().lines():
        name, _, default = line.partition("=")
        shown = {"": "none"}.get(default, default.removesuffix(".0"))
        assert f"| `{name}` | `{shown}` |" in readme or f"| `{name}` | {shown} |" in readme, line
