"""Settings of the experiments: experiments/params.yaml as a frozen model, and the folders of data and results."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from serving.error_messages import invalid_fields
from training.param_sections import Section
from training.params import ParamsError

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "experiments" / "params.yaml"
WORK = ROOT / ".runs" / "experiments"
DATA = WORK / "images"  # images as arrays, and the evaluator's classifier and features
RESULTS = WORK / "results"  # one folder per variant, tracked by DVC
REPORT = ROOT / "reports" / "experiments"

Scale = Literal["small", "full"]


class ExperimentSettings(Section):
    """Contents of experiments/params.yaml."""

    scale: Scale
    seeds: int = Field(ge=1, le=64)
    rgb_source: str | None


def load_settings(path: Path = SETTINGS) -> ExperimentSettings:
    """Read and validate experiments/params.yaml. Raises ParamsError with one sentence that names the key."""
    try:
        return ExperimentSettings.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParamsError(f"{path} cannot be read: {error}; restore it from version control") from None
    except ValidationError as error:
        invalid = invalid_fields(error)[0]
        raise ParamsError(f"{path}: {invalid.key}: {invalid.reason}") from None
