"""Validation of params.yaml: every mistake gives one sentence that names the key."""

import re
from pathlib import Path
from typing import Any

import pytest

from serving.inference.image_shape import Resolution
from tests.training.project import COMMITTED_PARAMS, write_params
from training.param_sections import Length
from training.params import Params, ParamsError, known_keys, load_params


def load_error(path: Path) -> str:
    """Load an invalid file; returns the error without the path."""
    with pytest.raises(ParamsError) as error:
        load_params(path)
    return str(error.value).removeprefix(f"{path}: ")


def committed_with(tmp_path: Path, key: str, line: str) -> Path:
    """Copy the committed params.yaml with the first line of a key replaced."""
    text, replaced = re.subn(
        rf"^( *){key}:.*$", rf"\g<1>{line}", COMMITTED_PARAMS.read_text(), count=1, flags=re.MULTILINE
    )
    assert replaced == 1
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


def test_the_committed_file_is_valid() -> None:
    params = load_params(COMMITTED_PARAMS)
    assert params.data.source == "data/fashion-mnist-10k"


def test_every_key_is_in_the_committed_file() -> None:
    text = COMMITTED_PARAMS.read_text()
    for key in known_keys():
        assert f"{key.rpartition('.')[2]}:" in text


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("bacth_size: 64", "train.bacth_size is not a parameter; did you mean train.batch?"),
        ("bacth: 64", "train.bacth is not a parameter; did you mean train.batch?"),
    ],
)
def test_a_misspelt_key_suggests_the_nearest_one(tmp_path: Path, written: str, message: str) -> None:
    assert load_error(committed_with(tmp_path, "batch", written)) == message


def test_a_misspelt_section_suggests_the_nearest_one(tmp_path: Path) -> None:
    assert load_error(committed_with(tmp_path, "network", "netwrok:")) == (
        "netwrok is not a parameter; did you mean network?"
    )


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = committed_with(tmp_path, "beta2", "")
    assert load_error(path).startswith("train.beta2 is missing; add it")


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("train", {"batch": "many"}, "train.batch = 'many' does not work: it should be a valid integer"),
        ("train", {"batch": 1}, "train.batch = 1 does not work: it should be greater than or equal to 2"),
        ("train", {"beta1": 1.0}, "train.beta1 = 1.0 does not work: it should be less than 1"),
        ("train", {"device": "gpu"}, "train.device = 'gpu' does not work: it should be 'auto', 'cpu' or 'cuda'"),
        ("train", {"sheet_epochs": [0]}, "train.sheet_epochs.0 = 0 does not work"),
        ("train", {"burn_in": {"kigm": 1}}, "train.burn_in.kigm is not a parameter; did you mean train.burn_in.kimg?"),
        ("train", {"burn_in": 3}, "train.burn_in is a section; write its keys below it, indented"),
        ("network", {"name": "dcgna"}, "network.name = 'dcgna' does not work: it should be 'dense', 'upsampling'"),
        ("network", {"discriminator_dropout": 1}, "network.discriminator_dropout = 1 does not work: it should be less"),
        ("network", {"latent_dim": 0}, "network.latent_dim = 0 does not work: it should be greater than or equal to 1"),
        ("objective", {"name": "wgan"}, "objective.name = 'wgan' does not work: it should be 'saturating'"),
        ("objective", {"r1": -1}, "objective.r1 = -1 does not work: it should be greater than or equal to 0"),
        (
            "stabilise",
            {"label_flip": 2},
            "stabilise.label_flip = 2 does not work: it should be less than or equal to 1",
        ),
        ("stabilise", {"gradient_clip": 0}, "stabilise.gradient_clip = 0 does not work: it should be greater than 0"),
        (
            "data",
            {"resolution": 30},
            "data.resolution = 30 does not work: it should be 28, 512 or a multiple of 16 from 32",
        ),
        ("data", {"channels": 2}, "data.channels = 2 does not work: it should be 1, 3 or 4"),
        ("data", {"max_skipped": 5}, "data.max_skipped = 5 does not work: it should be less than or equal to 1"),
        ("data", {"limit": 0}, "data.limit = 0 does not work: it should be greater than or equal to 1"),
        ("data", {"background": "white"}, "data.background = 'white' does not work: write a colour in quotes"),
    ],
)
def test_an_invalid_value_is_named_with_its_range(
    tmp_path: Path, section: str, values: dict[str, Any], message: str
) -> None:
    assert load_error(write_params(tmp_path, **{section: values})).startswith(message)


@pytest.mark.parametrize(
    "resolution",
    [0, -64, 24, 100, 272, 1024, 64.0, True, "64px", "96x", "512x512x3", "512x256", "28x32", [64, 64], None],
)
def test_an_invalid_resolution_shows_valid_ones(tmp_path: Path, resolution: object) -> None:
    message = load_error(write_params(tmp_path, data={"resolution": resolution}))
    assert message.startswith(f"data.resolution = {resolution!r} does not work: it should be ")
    assert message.endswith("height x width of such multiples, such as 96x64")


@pytest.mark.parametrize(
    ("written", "height", "width"),
    [("28", 28, 28), ("512", 512, 512), ("48", 48, 48), ("96x64", 96, 64), ("48x32", 48, 32), ("64x64", 64, 64)],
)
def test_a_resolution_is_a_side_or_height_x_width(tmp_path: Path, written: str, height: int, width: int) -> None:
    path = committed_with(tmp_path, "resolution", f"resolution: {written}")
    params = load_params(path)
    assert params.data.resolution == Resolution(height, width)
    assert Params.model_validate(params.model_dump()) == Params.model_validate_json(params.model_dump_json()) == params


def test_an_unquoted_colour_gives_an_error_about_quotes(tmp_path: Path) -> None:
    message = load_error(committed_with(tmp_path, "background", "background: #ffffff"))
    assert message == 'data.background = None does not work: write a colour in quotes, like "#ffffff"'


def test_a_scalar_in_place_of_a_section_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("name: x\ndata: 3\nnetwork: 4\ntrain: 5\nexport: 6\nevaluate: 7\n")
    assert load_error(path) == "data is a section; write its keys below it, indented"


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("20 epochs", 20, "epochs"),
        ("1 epoch", 1, "epochs"),
        ("240 kimg", 240, "kimg"),
        ("0.5kimg", 0.5, "kimg"),
        (" 15 minutes ", 15, "minutes"),
        ("1 minute", 1, "minutes"),
    ],
)
def test_a_length_is_an_amount_of_a_unit(text: str, amount: float, unit: str) -> None:
    assert Length.parse(text) == Length.model_validate({"amount": amount, "unit": unit})


@pytest.mark.parametrize("length", ["soon", "240", 240, "1.2.3 epochs", "-1 epochs", "3 hours", ""])
def test_an_invalid_length_shows_valid_ones(tmp_path: Path, length: object) -> None:
    message = load_error(write_params(tmp_path, train={"length": length}))
    assert message.startswith("train.length = ")
    assert message.endswith("is not a length; write one like 20 epochs, 240 kimg or 15 minutes")


def test_a_length_of_zero_is_refused(tmp_path: Path) -> None:
    assert load_error(write_params(tmp_path, train={"length": "0 epochs"})).endswith("it should be greater than 0")


def test_exponents_without_a_decimal_point_are_numbers(tmp_path: Path) -> None:
    path = committed_with(tmp_path, "generator_lr", "generator_lr: 2e-4")
    assert load_params(path).train.generator_lr == 0.0002


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    assert load_error(path) == f"{path} does not exist here; run from the folder that holds it"


def test_invalid_yaml_is_located(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("name: mint\n  data: [1\n")
    assert load_error(path) == f"{path} is not valid YAML at line 2, column 7; check its indentation and quotes"


@pytest.mark.parametrize("content", [b"", b"- a list", b"\xff\xfe"])
def test_a_file_without_parameters_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    assert load_error(path).endswith("restore it from version control")
