"""Settings that fit a set of pictures: the decision table behind `make train SOURCE=`.

| pictures                       | preset   | channels       | mirrored                          |
|--------------------------------|----------|----------------|-----------------------------------|
| most with transparency         | sprites  | 4              | no: sprites face and shade one way |
| up to FEW                      | few-shot | as below       | as below                          |
| grey, but for a share of STRAY | default  | 1              | no: text, digits, line drawings   |
| in colour                      | photos   | 3              | yes, unless left and right differ |

The resolution has the shape that most pictures share, else it is a square; its shorter side is the largest of SIDES
that most pictures fill, and at which most have detail. All follows from the pictures, not from the speed of the
machine: equal pictures get equal settings, so that a run can be resumed.
"""

from dataclasses import dataclass
from typing import Any

from serving.inference.image_shape import RGBA, Resolution
from training.param_sections import MIN_SIDE, SIDE_STEP
from training.survey import Survey

FEW = 500  # pictures: a discriminator soon knows so few by heart
MOST = 0.5  # share of the pictures
STRAY = 0.02  # share of pictures in colour among grey ones
SIDES = (28, 32, 64)  # pixels of the shorter side; more takes two CPU cores hours
ENLARGED = 1.1  # largest factor by which the median picture may be enlarged
SHARED_SHAPE, SHAPE_TOLERANCE = 0.8, 0.15  # share of pictures of one shape, and relative difference of their shapes
LONGEST = 2.0  # times the shorter side
TWO_SIDED = 0.02  # Survey.sidedness below which mirrored pictures look like the others
MINUTES = 15  # of training


@dataclass(frozen=True)
class Recommendation:
    """Settings for a set of pictures."""

    preset: str
    resolution: Resolution
    channels: int
    horizontal_flip: float

    @property
    def data_values(self) -> dict[str, Any]:
        """Form of the images, as values for params.yaml by dotted key."""
        return {"data.resolution": self.resolution.notation, "data.channels": self.channels}

    @property
    def training_values(self) -> dict[str, Any]:
        """Values for params.yaml that go over those of the preset, by dotted key."""
        return {"train.length": f"{MINUTES} minutes", "train.horizontal_flip": self.horizontal_flip}


def recommend(survey: Survey) -> Recommendation:
    """Choose the settings for a set of pictures by the table above."""
    resolution = choose_resolution(survey)
    if survey.transparent > MOST:
        return Recommendation("sprites", resolution, RGBA, horizontal_flip=0.0)
    grey = survey.coloured <= STRAY
    mirrored = not grey and survey.sidedness < TWO_SIDED
    return Recommendation(
        preset="few-shot" if survey.readable <= FEW else "default" if grey else "photos",
        resolution=resolution,
        channels=1 if grey else 3,
        horizontal_flip=0.5 if mirrored else 0.0,
    )


def choose_resolution(survey: Survey) -> Resolution:
    """Choose a resolution that most pictures fill, at which most have detail, and that cuts off little of them."""
    largest = ENLARGED * min(survey.width, survey.height)
    side = max((side for side in SIDES if side <= largest and survey.blurred(side) <= MOST), default=SIDES[0])
    if side < MIN_SIDE or survey.shaped(survey.aspect, SHAPE_TOLERANCE) < SHARED_SHAPE:
        return Resolution(side, side)
    elongation = min(max(survey.aspect, 1 / survey.aspect), LONGEST)
    longer = round(side * elongation / SIDE_STEP) * SIDE_STEP
    return Resolution(side, longer) if survey.aspect > 1 else Resolution(longer, side)
