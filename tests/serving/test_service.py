"""The whole service as it is run: `bentoml serve` in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_service import ROOT, START_TIMEOUT_S, LiveService, live_service, start


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

    page = client.get("/", follow_redirects=True)
    assert page.status_code == 200
    assert "<script" not in page.text
    for path in ("/docs.json", "/schema.json", "/static_content/index.html", "/no-such-path-1"):
        assert client.get(path).json().keys() == {"error", "detail"}

    metrics = client.get("/metrics").text
    assert "mint_images_total 1.0" in metrics
    assert "mint_batch_size_count 1.0" in metrics
    assert 'endpoint="/generate",http_response_code="200"' in metrics
    assert "no-such-path" not in metrics
    assert "readyz" not in metrics

    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=20)[0]
    assert process.returncode == 0
    assert f"serving {model_path} (tiny, 8x8x3, 3 classes) on cpu" in log
    assert "Traceback" not in log
    assert "ERROR" not in log


def test_the_service_refuses_to_start_with_a_damaged_model(model_path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(model_path.read_bytes()[:5000])
    process = start(damaged, tmp_path / "bentoml")
    said = process.communicate(timeout=START_TIMEOUT_S)[0]
    assert process.returncode == 1
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
