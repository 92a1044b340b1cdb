"""Sections of params.yaml as frozen pydantic models: the type and range of every key.

The committed params.yaml gives each key's unit and purpose.
"""

import re
from contextlib import suppress
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from serving.inference.image_shape import ImageResolution, Resolution

Probability = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
OptimizerName = Literal["adam", "rmsprop", "sgd"]

LONE_SQUARES = (28, 512)  # sides of squares, besides the multiples of SIDE_STEP
SIDE_STEP, MIN_SIDE, MAX_SIDE = 16, 32, 256


def _check_colour(value: object) -> object:
    """Accept only #rrggbb; without quotes YAML reads # as a comment and the value is None."""
    if not isinstance(value, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise ValueError('write a colour in quotes, like "#ffffff"')
    return value


Colour = Annotated[str, BeforeValidator(_check_colour)]


def _parse_resolution(value: object) -> Resolution:
    """Accept sizes that halve at least three times down to a few pixels, and 28 px, which halves twice."""
    with suppress(ValueError):
        resolution = Resolution.parse(value)
        lone = resolution.height == resolution.width and resolution.height in LONE_SQUARES
        if lone or all(MIN_SIDE <= side <= MAX_SIDE and side % SIDE_STEP == 0 for side in resolution):
            return resolution
    raise ValueError(
        f"it should be 28, 512 or a multiple of {SIDE_STEP} from {MIN_SIDE} to {MAX_SIDE}, "
        "or height x width of such multiples, such as 96x64"
    )


class Section(BaseModel):
    """Base class of the sections: immutable, and misspelt keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataParams(Section):
    """Source of the training images, and their form after `preprocess`."""

    source: str = Field(min_length=1)
    labels: str = Field(min_length=1)
    resolution: Annotated[ImageResolution, BeforeValidator(_parse_resolution)]
    channels: Literal[1, 3, 4]
    background: Colour
    limit: Annotated[int, Field(ge=1)] | None
    max_skipped: Probability


class NetworkParams(Section):
    """Architecture of the generator and the discriminator."""

    name: Literal["dense", "upsampling", "dcgan", "residual", "projected"]
    kernel: Literal[4, 5] | None
    depth: Annotated[int, Field(ge=1, le=8)] | None
    latent_dim: int = Field(ge=1, le=4096)
    generator_width: int = Field(ge=1, le=1024)
    discriminator_width: int = Field(ge=1, le=1024)
    widths: tuple[Annotated[int, Field(ge=1, le=2048)], ...] | None
    generator_dropout: Dropout
    discriminator_dropout: Dropout
    discriminator_norm: Literal["none", "batch", "batch-everywhere", "chain"]
    spectral_norm: bool
    minibatch_std: bool
    condition: Literal["none", "projection", "auxiliary"]


class ObjectiveParams(Section):
    """Loss of the generator and the discriminator, and its regularisation."""

    name: Literal["saturating", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"]
    weight_clip: Annotated[float, Field(gt=0)] | None
    gradient_penalty: float = Field(ge=0)
    r1: float = Field(ge=0)
    r2: float = Field(ge=0)
    energy_distance: float = Field(ge=0)
    mismatched: bool


class StabiliserParams(Section):
    """Training stabilisers; each is off at 0, 1, none or null."""

    label_flip: Probability
    label_smoothing: Probability
    label_noise: Probability
    instance_noise: float = Field(ge=0)
    instance_noise_kimg: float = Field(ge=0)
    augment: Literal["none", "diffaugment", "ada"]
    ada_kimg: float = Field(gt=0)
    packing: int = Field(ge=1, le=16)
    replay: int = Field(ge=0)
    gradient_clip: Annotated[float, Field(gt=0)] | None


class BurnInParams(Section):
    """Burn-in at the start of training: stronger penalties, other learning rates and another beta2."""

    kimg: float = Field(ge=0)
    penalty_factor: float = Field(gt=0)
    rate_factor: float = Field(gt=0)
    beta2: float = Field(ge=0, lt=1)


class Length(Section):
    """Length of the training, as an amount of one unit."""

    amount: float = Field(gt=0)
    unit: Literal["epochs", "kimg", "minutes"]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `240 kimg`, `20 epochs` or `15 minutes`; raises ValueError for anything else."""
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*(epoch|kimg|minute)s?\s*", text)
        if not match:
            raise ValueError(f"{text!r} is not a length; write one like 20 epochs, 240 kimg or 15 minutes")
        unit = match[2] if match[2] == "kimg" else match[2] + "s"
        return cls.model_validate({"amount": match[1], "unit": unit})


class TrainParams(Section):
    """Training: length, batches, optimisers, data augmentation, checkpoints."""

    length: Length
    batch: int = Field(ge=2, le=65536)
    generator_optimizer: OptimizerName
    discriminator_optimizer: OptimizerName
    generator_lr: LearningRate
    discriminator_lr: LearningRate
    beta1: float = Field(ge=0, lt=1)
    beta2: float = Field(ge=0, lt=1)
    burn_in: BurnInParams
    generator_steps: int = Field(ge=1, le=16)
    discriminator_steps: int = Field(ge=1, le=16)
    horizontal_flip: Probability
    rotation: float = Field(ge=0, le=180)
    ema_half_life_kimg: float = Field(ge=0)
    seed: int = Field(ge=0, le=2**32 - 1)
    device: Literal["auto", "cpu", "cuda"]
    checkpoint_kimg: float = Field(gt=0)
    keep_checkpoints: int = Field(ge=1)
    sheet_epochs: tuple[Annotated[int, Field(ge=1)], ...]
    start_from: str = Field(min_length=1)
    freeze_discriminator: int = Field(ge=0, le=64)
    probe_kimg: float = Field(gt=0)
    doctor: Literal["watch", "advise", "heal"]
    loggers: tuple[Literal["tensorboard"], ...]
    deterministic: bool

    @field_validator("length", mode="before")
    @classmethod
    def _parse_length(cls, value: object) -> object:
        return value if isinstance(value, Length | dict) else Length.parse(str(value))


class ExportParams(Section):
    """ONNX export."""

    checkpoint: Literal["best", "last"]
    opset: int = Field(ge=18, le=25)
    licence: str = Field(min_length=1)


class EvaluateParams(Section):
    """Evaluation of the ONNX file."""

    images: int = Field(ge=8)
    extractor: Literal["mobilenet-v2", "efficientnet-lite0", "inception"]
    classifier_epochs: int = Field(ge=1)


class PromoteParams(Section):
    """Conditions under which an evaluated candidate is served."""

    min_diversity: Probability
    min_precision: Probability
    min_recall: Probability
    tolerance: float = Field(ge=0)
