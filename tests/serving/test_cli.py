"""Command line: `mint generate` from a model file and from a service, `mint key`, and errors in one sentence."""

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.cli import main
from serving.http.auth import key_hash
from serving.inference.generator import MAX_BATCH, OnnxGenerator
from tests.live_service import live_service
from tests.pixels import assert_same_pixels
from tests.serving.conftest import Call

Mint = Callable[..., int]

KEY = "a key for tests"


@pytest.fixture
def mint(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mint:
    """Run `mint generate`, by default on the tiny model; returns the exit status; an exit message goes to stderr."""

    def run(*arguments: object, model: Path | None = model_path) -> int:
        model_option = [] if model is None else ["--model", str(model)]
        monkeypatch.setattr(sys, "argv", ["mint", "generate", *model_option, *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            main()
        if isinstance(exited.value.code, str):
            print(exited.value.code, file=sys.stderr)
            return 1
        return exited.value.code or 0

    return run


def test_a_seeds_file_equals_the_services_response(mint: Mint, call: Call, tmp_path: Path) -> None:
    assert mint("--seeds", "7", "--out", tmp_path) == 0
    assert (tmp_path / "seed-7.png").read_bytes() == call("POST", "/generate", json={"seeds": [7]}).content


def test_seeds_may_be_lists_and_ranges(mint: Mint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mint("--seeds", "1,5,9-11", "--out", tmp_path / "a" / "b") == 0
    written = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert written == {"seed-1.png", "seed-5.png", "seed-9.png", "seed-10.png", "seed-11.png"}
    output = capsys.readouterr().out
    assert output == f"wrote 5 images of tiny (8x8x3, 3 classes) to {tmp_path / 'a' / 'b'}: seed-1.png to seed-11.png\n"


def test_labels_truncation_and_format_agree_with_the_service(mint: Mint, call: Call, tmp_path: Path) -> None:
    options = ("--label", "EEL", "--truncation", "0.5", "--format", "npy")
    assert mint("--seeds", "1-3", "--out", tmp_path, *options) == 0
    body = {"seeds": [1, 2, 3], "labels": "eel", "truncation": 0.5, "format": "npy"}
    local, remote = np.load(tmp_path / "images.npy"), np.load(io.BytesIO(call("POST", "/generate", json=body).content))
    assert_same_pixels(local, remote)


def test_each_seed_may_have_its_own_label(mint: Mint, generator: OnnxGenerator, tmp_path: Path) -> None:
    assert mint("--seeds", "7,7", "--out", tmp_path, "--label", "0", "--label", "dog") == 0
    images, _ = generator.generate([7, 7], np.array([0, 1]))
    assert_same_pixels(Image.open(tmp_path / "seed-7.png"), images[0])
    assert_same_pixels(Image.open(tmp_path / "seed-7-2.png"), images[1])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--seeds", "x"), "'x' is neither a seed (0 to 4294967295) nor a range such as 0-15"),
        (("--seeds", "1,,2"), "'' is neither a seed"),
        (("--seeds", "4294967296"), "'4294967296' is neither a seed"),
        (("--seeds", "9-3"), "the range 9-3 runs backwards; write 3-9"),
        (("--seeds", "0-4294967295"), "are more than 1000000 seeds; write fewer at a time"),
        (("--seeds", "1", "--label", "doge"), '"doge" is not a class of this model; did you mean "dog"?'),
        (("--seeds", "1", "--label", "0", "--label", "1"), "there are 2 labels for 1 images"),
    ],
)
def test_invalid_arguments_are_one_sentence_on_stderr(
    mint: Mint, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert mint("--out", tmp_path, *arguments) == 1
    output = capsys.readouterr().err
    assert output.startswith("error: ")
    assert sentence in output
    assert output.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_unusable_model_or_folder_is_named(
    mint: Mint, model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mint("--seeds", "1", "--out", tmp_path, model=tmp_path / "none.onnx") == 1
    assert "none.onnx does not exist" in capsys.readouterr().err
    assert mint("--seeds", "1", "--out", model_path / "folder") == 1
    assert "cannot be written (Not a directory); choose another --out" in capsys.readouterr().err


@pytest.fixture(scope="module")
def url(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a service that requires a key and allows 4 images a request."""
    home = tmp_path_factory.mktemp("service")
    with live_service(model_path, home, MINT_API_KEYS=key_hash(KEY), MINT_MAX_IMAGES="4") as service:
        yield str(service.client.base_url)


def assert_same_file(path: Path, other: Path) -> None:
    """The same pixels, and the same text beside them."""
    if path.suffix == ".npy":
        assert_same_pixels(np.load(path), np.load(other))
    else:
        assert_same_pixels(Image.open(path), Image.open(other))
        assert getattr(Image.open(path), "text", {}) == getattr(Image.open(other), "text", {})


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--label", "eel", "--truncation", "0.5", "--format", "webp"),
        ("--format", "npy", *(f"--label={index % 3}" for index in range(11))),
    ],
)
def test_a_service_gives_the_same_files_as_the_model_file(
    mint: Mint, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    assert mint("--seeds", "0-9,3", "--out", tmp_path / "a", *options) == 0
    output = capsys.readouterr().out
    assert mint("--seeds", "0-9,3", "--out", tmp_path / "b", "--url", url, "--key", KEY, *options, model=None) == 0
    assert capsys.readouterr().out == output.replace(str(tmp_path / "a"), str(tmp_path / "b"))
    for path in sorted((tmp_path / "a").iterdir()):
        assert_same_file(tmp_path / "b" / path.name, path)
    assert len(list((tmp_path / "b").iterdir())) == len(list((tmp_path / "a").iterdir()))


def test_with_a_service_the_key_may_be_in_the_environment_and_the_model_is_a_name(
    mint: Mint, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINT_API_KEY", KEY)
    assert mint("--seeds", "1", "--out", tmp_path, "--url", url, model=Path("tiny")) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--key", "another"), "this key is not known here"),
        (("--key", KEY, "--label", "doge"), '"doge" is not a class of this model; did you mean "dog"?'),
        (("--key", KEY, "--model", "tinny"), 'there is no model "tinny" here; did you mean "tiny"?'),
        (("--key", KEY, "--provider", "cpu"), "--provider is for model files"),
        (("--url", "mint.example"), "write it as http://host:3000"),
    ],
)
def test_errors_of_a_service_are_one_sentence_on_stderr(
    mint: Mint, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert mint("--seeds", "1", "--out", tmp_path, "--url", url, *arguments, model=None) == 1
    output = capsys.readouterr().err
    assert output.startswith("error: ")
    assert sentence in output
    assert output.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [("--seeds", "1"), ("--help",)])
def test_a_full_disk_is_one_sentence_on_stderr(arguments: tuple[str, ...], model_path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.cli", "generate", "--model", str(model_path), "--out", str(tmp_path)]
    with Path("/dev/full").open("w") as full:
        completed = subprocess.run([*command, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert completed.returncode == 1
    assert completed.stderr == "error: the output cannot be used (No space left on device); direct it elsewhere\n"


def test_an_array_may_span_several_batches(mint: Mint, generator: OnnxGenerator, tmp_path: Path) -> None:
    """More images than one batch holds."""
    count = MAX_BATCH + 3
    assert mint("--seeds", f"0-{count - 1}", "--format", "npy", "--out", tmp_path) == 0
    images = np.load(tmp_path / "images.npy")
    assert (images.dtype, images.shape) == (
        np.uint8,
        (count, *generator.images(generator.latent_space.sample([0])[0], [0]).shape[1:]),
    )
    expected, _ = generator.generate([count - 1])
    assert np.abs(images[-1].astype(int) - expected[0]).max() <= 1


@pytest.mark.parametrize(
    ("option", "sentence"), [("0", "timeout is a number of seconds above 0"), ("nan", "timeout is")]
)
def test_an_invalid_timeout_is_rejected(
    mint: Mint, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, sentence: str
) -> None:
    assert mint("--seeds", "1", "--out", tmp_path, "--url", "http://mint", "--timeout", option, model=None) == 1
    assert sentence in capsys.readouterr().err


def test_a_new_key_is_printed_with_its_hash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mint", "key"])
    keys = []
    for _ in range(2):
        with pytest.raises(SystemExit):
            main()
        lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
        variables = dict(line.split("=", 1) for line in lines)
        assert variables["MINT_API_KEYS"] == hashlib.sha256(variables["MINT_API_KEY"].encode()).hexdigest()
        keys.append(variables["MINT_API_KEY"])
    assert keys[0] != keys[1]
    assert min(map(len, keys)) >= 43  # 256 bits in base64


def test_the_command_imports_neither_the_server_nor_torch() -> None:
    code = "import sys, serving.cli; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "onnxruntime" in modules
    assert not {"bentoml", "starlette", "prometheus_client", "torch"} & set(modules)


def test_onnx_runtime_sends_no_telemetry(model_path: Path, tmp_path: Path) -> None:
    """ONNX Runtime writes a device id to the home folder when its telemetry is on."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = ["-m", "serving.cli", "generate", "--model", str(model_path), "--seeds", "1", "--out", str(tmp_path)]
    subprocess.run([sys.executable, *command], env=environment | {"HOME": str(home)}, check=True, capture_output=True)
    assert list(home.rglob("*")) == []
