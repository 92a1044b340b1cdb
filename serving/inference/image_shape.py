"""Shape of images: channels, and the resolution as params.yaml, manifests and model cards write it.

A square is written as its side, 64, any other size as height x width, 96x64.
"""

import re
from typing import Annotated, NamedTuple, Self

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

RGBA = 4  # channels of images with transparency, whose colours are not premultiplied by alpha
NOTATION = re.compile(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?")


class Resolution(NamedTuple):
    """Height and width of images, in pixels; printed as in params.yaml."""

    height: int
    width: int

    @classmethod
    def parse(cls, value: object) -> Self:
        """Parse a side such as 64, or a height and width such as `96x64`; raises ValueError for anything else."""
        match = NOTATION.fullmatch(str(value))
        if not match:
            raise ValueError("it should be a side such as 64, or height x width such as 96x64")
        return cls(int(match[1]), int(match[2] or match[1]))

    def __str__(self) -> str:
        return str(self.notation)

    @property
    def notation(self) -> int | str:
        """The side of a square as a number, any other size as text."""
        return self.height if self.height == self.width else f"{self.height}x{self.width}"

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    def scaled_to(self, longer_side: int) -> "Resolution":
        """The size of this shape whose longer side has so many pixels; the other side has at least one."""
        height, width = (max(1, round(side * longer_side / max(self))) for side in self)
        return Resolution(height, width)


ImageResolution = Annotated[
    Resolution,
    BeforeValidator(Resolution.parse),
    PlainSerializer(lambda resolution: resolution.notation, return_type=int | str),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^[1-9]\d*x[1-9]\d*$"}]}
    ),
]
