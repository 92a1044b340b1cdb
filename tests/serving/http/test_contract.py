"""Fuzzing of the live service against its own OpenAPI document, with schemathesis.

MINT_FUZZ=N generates N valid and N invalid cases of each operation with input (`make fuzz`); the default is a few, to
keep the suite quick.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,  # no schema knows a model's classes
)

from serving.http.openapi import openapi_document
from serving.settings import Settings
from tests.live_service import LiveService, live_service

CASES = int(os.environ.get("MINT_FUZZ", "20"))
MAX_IMAGES = 8
REFUSED_AS_TOO_LARGE = (413, 414, 431)
OPERATIONS = {
    f"{operation.method.upper()} {operation.path}": operation
    for operation in (
        result.ok()
        for result in schemathesis.openapi.from_dict(
            openapi_document(Settings(max_images=MAX_IMAGES))
        ).get_all_operations()
    )
}


@pytest.fixture(scope="module")
def service(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A live service with small limits."""
    home = tmp_path_factory.mktemp("home")
    with live_service(model_path, home, MINT_MAX_IMAGES=str(MAX_IMAGES), MINT_TIMEOUT="60") as running:
        yield running


def test_the_document_is_the_served_one(service: LiveService) -> None:
    paths = service.client.get("/openapi.json").json()["paths"]
    assert {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods} == set(OPERATIONS)


WITH_INPUT = ["POST /generate", "GET /images/{seed}.{ext}", "POST /interpolate", "GET /model"]
OPERATIONS_AND_MODES = [(name, GenerationMode.POSITIVE) for name in OPERATIONS]
OPERATIONS_AND_MODES += [
    (name, GenerationMode.NEGATIVE) for name in WITH_INPUT
]  # input that the document does not allow


@pytest.mark.parametrize(("name", "mode"), OPERATIONS_AND_MODES, ids=lambda part: getattr(part, "value", part))
def test_every_response_conforms_to_the_document(service: LiveService, name: str, mode: GenerationMode) -> None:
    address = str(service.client.base_url).rstrip("/")

    @settings(
        max_examples=CASES,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=OPERATIONS[name].as_strategy(generation_mode=mode))
    def any_case(case: schemathesis.Case) -> None:
        response = case.call(base_url=address)
        excluded = [positive_data_acceptance]
        if (
            response.status_code in REFUSED_AS_TOO_LARGE
        ):  # refused as well, with statuses that schemathesis does not count
            excluded.append(negative_data_rejection)
        case.validate_response(response, excluded_checks=excluded)
        assert b"Traceback" not in response.content

    any_case()
