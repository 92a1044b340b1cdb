"""The whole service as it is run: `bentoml serve` in a process of its own."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live_service import ROOT, START_TIMEOUT_S, LiveService, live_service, log_of, start


@pytest.fixture(scope="module")
def server(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """The service with the tiny model, and a client of it."""
    with live_service(model_path, tmp_path_factory.mktemp("bentoml")) as service:
        yield service


def test_the_service_runs_from_start_to_sigterm(server: LiveService, model_path: Path, tmp_path: Path) -> None:
    client, process = server.client, server.process

    image = client.post("/generate", json={"seeds": [7]})
    command = [
        "-c",
        "from serving.cli import main; main()",
        "generate",
        "--model",
        str(model_path),
        "--provider",
        "cpu",
    ]
    subprocess.run(
        [sys.executable, *command, "--seeds", "7", "--out", str(tmp_path)], cwd=ROOT, check=True, capture_output=True
    )
    assert image.content == (tmp_path / "seed-7.png").read_bytes()
    assert client.get("/model").json()["model_id"] == image.headers["x-mint-model"]

    for path in ("/docs.json", "/schema.json", "/static_content/index.html", "/no-such-path-1"):
        assert client.get(path).json().keys() == {"error", "detail"}

    metrics = client.get("/metrics").text
    assert re.search(r"^mint_images_total\{.*\} 1.0$", metrics, re.MULTILINE)
    assert "mint_batch_size_count 1.0" in metrics
    assert 'mint_requests_total{method="POST",route="/generate",status="200"} 1.0' in metrics
    assert "process_resident_memory_bytes" in metrics
    assert "no-such-path" not in metrics

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert any(f"serving {model_path} (tiny, 8x8x3, 3 classes) on cpu" in line["message"] for line in lines)
    assert any(line["message"].startswith(f"settings: MINT_MODEL={model_path} ") for line in lines)
    (asked,) = [line for line in lines if line.get("path") == "/generate"]
    assert asked["request_id"] == image.headers["x-request-id"]
    assert {line["level"] for line in lines} == {"info"}
    assert not any("traceback" in line for line in lines)


def test_sigterm_says_so_first_and_then_ends(model_path: Path, tmp_path: Path) -> None:
    with live_service(model_path, tmp_path, MINT_DRAIN="1") as service:
        service.process.send_signal(signal.SIGTERM)
        answers = []
        with contextlib.suppress(httpx.TransportError):  # the end
            while time.sleep(0.05) is None:
                probe, image = service.client.get("/readyz"), service.client.get("/images/7.png")
                answers.append((probe.status_code, image.status_code, image.headers.get("connection")))
        assert (503, 200, "close") in answers
        assert {answer for answer in answers if answer[0] == 503} == {(503, 200, "close")}
        assert service.process.wait(timeout=10) == 0


def test_the_service_refuses_to_start_with_a_damaged_model(model_path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(model_path.read_bytes()[:5000])
    process = start(damaged, tmp_path / "bentoml")
    assert process.wait(timeout=START_TIMEOUT_S) == 1
    said = log_of(tmp_path / "bentoml")
    assert said.startswith(f"error: {damaged} is not a whole ONNX file")
    assert said.count("\n") == 1


def test_bentoml_reports_no_usage_even_when_nobody_has_forbidden_it(tmp_path: Path) -> None:
    code = (
        "from bentoml._internal.utils.analytics.usage_stats import do_not_track as quiet; before = quiet();"
        "import serving.service; print(before, quiet())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "BENTOML_DO_NOT_TRACK"}
    environment["BENTOML_HOME"] = str(tmp_path)
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout == "False True\n"
