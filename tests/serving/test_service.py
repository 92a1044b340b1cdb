"""The whole service as it is run: `bentoml serve` in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60


def start(model: Path, home: Path, port: int = 0, **settings: str) -> subprocess.Popen[str]:
    """`bentoml serve` for a model file, with everything that BentoML keeps inside `home`."""
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Mint", "--host", "127.0.0.1"]
    environment = os.environ | {"BENTOML_HOME": str(home), "MINT_MODEL": str(model), "MINT_PROVIDER": "cpu"} | settings
    return subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.fixture(scope="module")
def server(
    model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """A client of a running service, and the service."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(model_path, tmp_path_factory.mktemp("bentoml"), port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        try:
            wait_until_ready(client, process)
            yield client, process
        finally:
            process.kill()
            process.wait()


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[str]) -> None:
    """Returns when /readyz says so."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    process.kill()
    raise AssertionError(f"the service did not get ready:\n{process.communicate()[0]}")


def test_the_service_runs_from_start_to_sigterm(
    server: tuple[httpx.Client, subprocess.Popen[str]], model_path: Path, tmp_path: Path
) -> None:
    client, process = server

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
