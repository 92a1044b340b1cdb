"""Resolution: notation of squares and rectangles in params.yaml, manifests and model cards."""

import pytest
from pydantic import BaseModel

from serving.inference.image_shape import ImageResolution, Resolution


class Record(BaseModel):
    """A file that holds a resolution."""

    resolution: ImageResolution


@pytest.mark.parametrize(
    ("written", "json", "resolution"),
    [
        (64, "64", Resolution(64, 64)),
        ("64", "64", Resolution(64, 64)),
        ("64x64", "64", Resolution(64, 64)),
        ("96x64", '"96x64"', Resolution(96, 64)),
    ],
)
def test_a_resolution_is_read_and_written_in_one_notation(
    written: int | str, json: str, resolution: Resolution
) -> None:
    record = Record.model_validate({"resolution": written})
    assert record.resolution == resolution
    assert record.model_dump_json() == f'{{"resolution":{json}}}'
    assert Record.model_validate_json(record.model_dump_json()) == record
    assert str(resolution) == json.strip('"')


@pytest.mark.parametrize(
    "written", [0, -1, 1.5, True, None, "", "x", "64x", "x64", "0x64", "64 x 64", "1e3", "64x64x3"]
)
def test_anything_else_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="it should be a side such as 64, or height x width such as 96x64"):
        Resolution.parse(written)


@pytest.mark.parametrize(
    ("resolution", "longer_side", "scaled"),
    [
        (Resolution(64, 64), 224, Resolution(224, 224)),
        (Resolution(96, 64), 48, Resolution(48, 32)),
        (Resolution(32, 256), 100, Resolution(12, 100)),
        (Resolution(256, 32), 3, Resolution(3, 1)),
    ],
)
def test_scaling_keeps_the_aspect_ratio(resolution: Resolution, longer_side: int, scaled: Resolution) -> None:
    assert resolution.scaled_to(longer_side) == scaled
