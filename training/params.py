"""params.yaml as one frozen pydantic model, validated on load; every mistake is a ParamsError that names the key.

python -m training.params      checks params.yaml and prints the resolved values
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from serving.error_messages import InvalidField, did_you_mean, invalid_fields
from serving.errors import MintError
from training import paths
from training.param_rules import find_conflicts
from training.param_sections import (
    DataParams,
    EvaluateParams,
    ExportParams,
    Length,
    NetworkParams,
    ObjectiveParams,
    PromoteParams,
    Section,
    StabiliserParams,
    TrainParams,
)
from training.stage import run_stage


class ParamsError(MintError):
    """params.yaml is missing, malformed, or has a key or value that cannot be used."""


class Params(Section):
    """All parameters in params.yaml."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)
    data: DataParams
    network: NetworkParams
    objective: ObjectiveParams
    stabilise: StabiliserParams
    train: TrainParams
    export: ExportParams
    evaluate: EvaluateParams
    promote: PromoteParams

    @model_validator(mode="after")
    def _refuse_conflicts(self) -> Self:
        for conflict in find_conflicts(
            self.data, self.network, self.objective, self.stabilise, self.train, self.evaluate
        ):
            raise ValueError(conflict)
        return self


def known_keys(section: type[BaseModel] = Params, prefix: str = "") -> list[str]:
    """List every dotted key of params.yaml, sections included."""
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, Section) and nested is not Length:
            keys += known_keys(nested, f"{prefix}{name}.")
    return keys


def load_params(path: Path = paths.PARAMS) -> Params:
    """Read and validate params.yaml. Raises ParamsError with one sentence that names the key."""
    return validate_params(read_params(path), str(path))


def read_params(path: Path = paths.PARAMS) -> dict[str, Any]:
    """Read params.yaml without validating it. Raises ParamsError when it is missing or is not a YAML mapping."""
    return parse_params(read_params_text(path), path)


def read_params_text(path: Path = paths.PARAMS) -> str:
    """Read the text of params.yaml, line ends unchanged. Raises ParamsError when it is missing or not UTF-8."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist here; run from the folder that holds it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} cannot be read: {error}; restore it from version control") from None


def parse_params(text: str, path: Path = paths.PARAMS) -> dict[str, Any]:
    """Parse the text of params.yaml without validating it. Raises ParamsError when it is not a YAML mapping."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ParamsError(f"{path} is not valid YAML{at}; check its indentation and quotes") from None
    if not isinstance(raw, dict):
        raise ParamsError(f"{path} holds no parameters; restore it from version control")
    return raw


def validate_params(raw: dict[str, Any], where: str) -> Params:
    """Validate parameters read from `where`. Raises ParamsError with one sentence that names the key."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        # A misspelt key also leaves one missing; report what was written first.
        first = min(invalid_fields(error), key=lambda invalid: invalid.type != "extra_forbidden")
        raise ParamsError(f"{where}: {_explain(first)}") from None


def changed_params(params: Params, values: Mapping[str, Any]) -> Params:
    """Parameters with other values by dotted key. Raises ParamsError where they do not go together."""
    sections: dict[str, Any] = dict(params)
    for key, value in values.items():
        section, name = key.split(".")
        sections[section] = dict(sections[section]) | {name: value}
    return validate_params(sections, "heal")


def _explain(invalid: InvalidField) -> str:
    """Describe an invalid parameter in one sentence."""
    key = invalid.key
    if invalid.type == "extra_forbidden":
        return f"{key} is not a parameter; {did_you_mean(key, known_keys(), otherwise='remove it', cutoff=0.5)}"
    if invalid.type == "missing":
        return f"{key} is missing; add it (the committed params.yaml shows its range)"
    if invalid.type == "model_type":
        return f"{key} is a section; write its keys below it, indented"
    reason = invalid.reason.replace("Input should", "it should")
    if not key:
        return reason
    return f"{key} = {invalid.value!r} does not work: {reason[0].lower()}{reason[1:]}"


if __name__ == "__main__":
    run_stage(lambda: print(load_params().model_dump_json(indent=2)))
