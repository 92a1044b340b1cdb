"""params.yaml as frozen models: every knob of a run, its type, its range and its reason.

python -m training.params      checks params.yaml and prints what it resolves to
"""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from serving.errors import MintError
from training import paths
from training.param_rules import contradictions

Probability = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
OptimizerName = Literal["adam", "rmsprop", "sgd"]


def _check_colour(value: object) -> object:
    """Refuses all but #rrggbb; without quotes YAML takes the # for a comment and the value is None."""
    if not isinstance(value, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise ValueError('write a colour in quotes, like "#ffffff"')
    return value


Colour = Annotated[str, BeforeValidator(_check_colour)]


class ParamsError(MintError):
    """params.yaml asks for something that does not exist or cannot work."""


class Section(BaseModel):
    """A part of params.yaml: immutable, and without room for misspelt keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataParams(Section):
    """What `preprocess` reads and what it makes of it."""

    source: str = Field(min_length=1)
    labels: str = Field(min_length=1)
    resolution: Literal[28, 32, 64, 96, 128, 256]
    channels: Literal[1, 3]
    background: Colour
    limit: Annotated[int, Field(ge=1)] | None
    max_skipped: Probability


class NetworkParams(Section):
    """The generator and the discriminator."""

    name: Literal["dense", "upsampling", "dcgan", "residual"]
    kernel: Literal[4, 5] | None
    depth: Annotated[int, Field(ge=1, le=8)] | None
    latent_dim: int = Field(ge=1, le=4096)
    generator_width: int = Field(ge=1, le=1024)
    discriminator_width: int = Field(ge=1, le=1024)
    widths: tuple[Annotated[int, Field(ge=1, le=2048)], ...] | None
    generator_dropout: Dropout
    discriminator_dropout: Dropout
    discriminator_norm: Literal["none", "batch", "batch-everywhere"]
    spectral_norm: bool
    minibatch_std: bool
    condition: Literal["none", "projection", "auxiliary"]


class ObjectiveParams(Section):
    """What the two players minimise."""

    name: Literal["saturating", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"]
    weight_clip: Annotated[float, Field(gt=0)] | None
    gradient_penalty: float = Field(ge=0)
    r1: float = Field(ge=0)
    r2: float = Field(ge=0)
    mismatched: bool


class StabiliserParams(Section):
    """What keeps the game going; every one is off at 0, 1, none or null."""

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
    """How much stronger the penalties and rates are at the start, and how short Adam's memory; see `schedules`."""

    kimg: float = Field(ge=0)
    penalty_factor: float = Field(gt=0)
    rate_factor: float = Field(gt=0)
    beta2: float = Field(ge=0, lt=1)


class Length(Section):
    """How long to train: an amount of one unit."""

    amount: float = Field(gt=0)
    unit: Literal["epochs", "kimg", "minutes"]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `240 kimg`, `20 epochs` or `15 minutes`; raises ValueError for anything else."""
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*(epoch|kimg|minute)s?\s*", text)
        if not match:
            raise ValueError(f"{text!r} is not a length; write one like 20 epochs, 240 kimg or 15 minutes")
        unit = match[2] if match[2] == "kimg" else match[2] + "s"
        return cls.model_validate({"amount": match[1], "unit": unit})


class TrainParams(Section):
    """How the networks are trained. What is in `Schedule` can change without starting over."""

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

    @field_validator("length", mode="before")
    @classmethod
    def _parse_length(cls, value: object) -> object:
        return value if isinstance(value, Length | dict) else Length.parse(str(value))


class ExportParams(Section):
    """How the served file is written."""

    opset: int = Field(ge=18, le=25)
    licence: str = Field(min_length=1)


class EvaluateParams(Section):
    """How the served file is measured."""

    images: int = Field(ge=8)
    extractor: Literal["efficientnet-lite0", "inception"]
    classifier_epochs: int = Field(ge=1)


class Params(Section):
    """The whole of params.yaml."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)
    data: DataParams
    network: NetworkParams
    objective: ObjectiveParams
    stabilise: StabiliserParams
    train: TrainParams
    export: ExportParams
    evaluate: EvaluateParams

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for problem in contradictions(self):
            raise ValueError(problem)
        return self


def known_keys(section: type[BaseModel] = Params, prefix: str = "") -> list[str]:
    """Every dotted key that params.yaml may hold, sections included."""
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, Section) and nested is not Length:
            keys += known_keys(nested, f"{prefix}{name}.")
    return keys


def load_params(path: Path = paths.PARAMS) -> Params:
    """Reads and checks params.yaml. Raises ParamsError with one sentence that names the key."""
    return validate(read_params(path), str(path))


def read_params(path: Path = paths.PARAMS) -> dict[str, Any]:
    """The contents of params.yaml, not yet checked. Raises ParamsError where there are none."""
    return parse_params(params_text(path), path)


def params_text(path: Path = paths.PARAMS) -> str:
    """The text of params.yaml, byte for byte. Raises ParamsError where there is none or it is no UTF-8."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist here; run from the folder that holds it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} cannot be read: {error}; restore it from version control") from None


def parse_params(text: str, path: Path = paths.PARAMS) -> dict[str, Any]:
    """The contents of such a text, not yet checked. Raises ParamsError where it holds none."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        at = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        raise ParamsError(f"{path} is not valid YAML{at}; check its indentation and quotes") from None
    if not isinstance(raw, dict):
        raise ParamsError(f"{path} holds no parameters; restore it from version control")
    return raw


def validate(raw: dict[str, Any], where: str) -> Params:
    """Checks parameters that were read from `where`. Raises ParamsError with one sentence that names the key."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        # A misspelt key is also a missing one; what the person wrote comes first.
        problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        raise ParamsError(f"{where}: {_explain(problems[0])}") from None


def _explain(problem: Any) -> str:
    """One sentence for a problem that pydantic found."""
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        nearest = get_close_matches(key, known_keys(), n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else "remove it"
        return f"{key} is not a parameter; {hint}"
    if problem["type"] == "missing":
        return f"{key} is missing; add it (the committed params.yaml shows its range)"
    if problem["type"] == "model_type":
        return f"{key} is a section; write its keys below it, indented"
    said = str(problem["msg"]).removeprefix("Value error, ").replace("Input should", "it should")
    if not key:
        return said
    return f"{key} = {problem['input']!r} does not work: {said[0].lower()}{said[1:]}"


if __name__ == "__main__":
    from training.stage import run_stage

    run_stage(lambda: print(load_params().model_dump_json(indent=2)))
