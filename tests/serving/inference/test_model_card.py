"""Model card: files of older versions stay readable; invalid sizes and colours are named."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving.errors import ModelError
from serving.inference.image_shape import Resolution
from serving.inference.model_card import CARD_KEY, read_card
from serving.inference.onnx_file import read_metadata
from tests.tiny_model import tiny_card

COMMITTED_MODEL = Path(__file__).parents[3] / "models" / "generator.onnx"
ADDED = ("background", "directions", "memorised")  # since format 1 was first written


def card_with(**changes: Any) -> dict[str, str]:
    """Metadata of a file whose card has these values, or not these keys."""
    values = json.loads(tiny_card().model_dump_json()) | changes
    return {CARD_KEY: json.dumps({key: value for key, value in values.items() if value is not ...})}


def test_a_card_without_the_fields_that_were_added_later_is_read() -> None:
    card = read_card(card_with(**dict.fromkeys(ADDED, ...), resolution=28, channels=1), "old.onnx")
    assert card.resolution == Resolution(28, 28)
    assert card.image_shape == (28, 28, 1)
    assert card.background == "#ffffff"
    assert card.shape == "28x28x1, 3 classes"
    assert card.memorised is None


def test_the_committed_model_is_read() -> None:
    card = read_card(read_metadata(COMMITTED_MODEL.read_bytes(), str(COMMITTED_MODEL)), str(COMMITTED_MODEL))
    assert card.image_shape == (28, 28, 1)


def test_a_square_is_written_as_older_versions_read_it() -> None:
    assert json.loads(tiny_card(resolution=64).model_dump_json())["resolution"] == 64
    assert json.loads(tiny_card(resolution="96x64").model_dump_json())["resolution"] == "96x64"


@pytest.mark.parametrize(
    ("field", "value"),
    [("resolution", "wide"), ("resolution", 0), ("resolution", [64, 64]), ("channels", 2), ("background", "white")],
)
def test_an_invalid_shape_or_colour_is_named(field: str, value: object) -> None:
    with pytest.raises(ModelError, match=f"the model card's {field} is wrong"):
        read_card(card_with(**{field: value}), "odd.onnx")
