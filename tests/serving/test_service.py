"""The service end to end: `mint serve` in its own process, its health check, and BentoML's server."""

import contextlib
import io
import json
import logging
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
from PIL import Image

from serving import health
from serving.cli import main
from tests.live_service import END_TIMEOUT_S, LOG, ROOT, LiveService, live_service
from tests.pixels import assert_same_pixels


@pytest.fixture(scope="module")
def server(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A live service with the tiny model, no home directory and nowhere to write."""
    nowhere = str(tmp_path_factory.mktemp("nowhere") / "none")
    with live_service(
        model_path, tmp_path_factory.mktemp("log"), HOME=nowhere, TMPDIR=nowhere, PROMETHEUS_MULTIPROC_DIR=nowhere
    ) as service:
        yield service


def test_the_service_generates_counts_and_logs(server: LiveService, model_path: Path, tmp_path: Path) -> None:
    client = server.client

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
    assert_same_pixels(Image.open(io.BytesIO(image.content)), Image.open(tmp_path / "seed-7.png"))
    assert client.get("/model").json()["model_id"] == image.headers["x-mint-model"]

    for path in ("/docs.json", "/schema.json", "/static_content/index.html", "/no-such-path-1"):
        assert client.get(path).json().keys() == {"error", "detail"}

    metrics = client.get("/metrics").text
    assert re.search(r"^mint_images_total\{.*\} 1.0$", metrics, re.MULTILINE)
    assert "mint_batch_size_count 1.0" in metrics
    assert 'mint_requests_total{method="POST",route="/generate",status="200"} 1.0' in metrics
    assert "process_resident_memory_bytes" in metrics
    assert "no-such-path" not in metrics

    server.wait_for_log('"path":"/metrics"')
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert any(f"serving {model_path} (tiny, 8x8x3, 3 classes) on cpu" in line["message"] for line in lines)
    assert any(line["message"].startswith(f"settings: MINT_MODEL={model_path} ") for line in lines)
    (request,) = [line for line in lines if line.get("path") == "/generate"]
    assert request["request_id"] == image.headers["x-request-id"]
    assert {line["level"] for line in lines} == {"info"}
    assert not any("traceback" in line for line in lines)


def test_sigterm_drains_and_then_ends_the_service(model_path: Path, tmp_path: Path) -> None:
    with live_service(model_path, tmp_path, MINT_DRAIN="3") as service:
        service.process.send_signal(signal.SIGTERM)
        statuses = []
        with contextlib.suppress(httpx.TransportError):  # the service has ended
            while time.sleep(0.05) is None:
                probe, image = service.client.get("/readyz"), service.client.get("/images/7.png")
                statuses.append((probe.status_code, image.status_code, image.headers.get("connection")))
        assert (503, 200, "close") in statuses
        assert {status for status in statuses if status[0] == 503} == {(503, 200, "close")}
        assert service.process.wait(timeout=END_TIMEOUT_S) == 0


def test_a_second_signal_ends_the_drain(model_path: Path, tmp_path: Path) -> None:
    with live_service(model_path, tmp_path, MINT_DRAIN="600") as service:
        service.process.send_signal(signal.SIGTERM)
        service.wait_for_log("draining for 600 s")
        assert service.client.get("/livez").status_code == 200
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=END_TIMEOUT_S) == 1


SIGNAL_WHILE_THE_LOG_IS_LOCKED = """
import signal
from serving import json_logging
from serving.cli import main

class InterruptedHandler(json_logging.NonBlockingHandler):
    def emit(self, record):
        if record.name == "serving.access":
            with self._wake._cond:
                signal.raise_signal(signal.SIGTERM)
        super().emit(record)

json_logging.NonBlockingHandler = InterruptedHandler
main()
"""


def test_sigterm_ends_the_service_while_it_writes_its_log(model_path: Path, tmp_path: Path) -> None:
    with live_service(model_path, tmp_path, ["-c", SIGNAL_WHILE_THE_LOG_IS_LOCKED]) as service:
        assert service.client.get("/model").status_code == 200
        assert service.process.wait(timeout=END_TIMEOUT_S) == 0


def test_the_service_is_one_process_with_one_port_and_no_open_file(server: LiveService) -> None:
    """Home and temporary directory do not exist; only the log and sockets are open."""
    process = Path(f"/proc/{server.process.pid}")
    assert [
        (each / "children").read_text() for each in (process / "task").iterdir() if (each / "children").read_text()
    ] == []
    opened = {str(each.readlink()) for each in (process / "fd").iterdir()}
    files = {each for each in opened if each.startswith("/") and not each.startswith("/dev/")}
    assert files == {str(server.home / LOG)}
    sockets = {each.removeprefix("socket:[").removesuffix("]") for each in opened if each.startswith("socket:")}
    table = [line.split() for kind in ("tcp", "tcp6") for line in (process / "net" / kind).read_text().splitlines()[1:]]
    listening = [int(each[1].rpartition(":")[2], 16) for each in table if each[3] == "0A" and each[9] in sockets]
    assert listening == [server.client.base_url.port]


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Undo the logging configuration of a start, which applies to the whole process."""
    loggers = [logging.getLogger(name) for name in ("", "bentoml", "serving", "uvicorn", "uvicorn.access")]
    before = [(logger, logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = True


def test_a_failed_start_prints_one_sentence(
    server: LiveService,
    restored_logging: None,
    model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(model_path.read_bytes()[:5000])
    for options, settings, sentence in [
        (["--port", "99999"], {}, "'99999' is not a port; ports are whole numbers from 0"),
        (["--port", "three"], {}, "'three' is not a port"),
        (["--port", str(server.client.base_url.port)], {}, "is in use; end what listens there, or choose another"),
        (["--host", "192.0.2.1"], {}, "192.0.2.1 is not an address of this machine"),
        (["--host", "a..b"], {}, "'a..b' is no known host"),
        ([], {"MINT_LISTEN": "3000"}, "MINT_LISTEN=3000 does not work"),
        ([], {"MINT_LISTEN": "127.0.0.1:70000"}, "'70000' is not a port"),
        (["--port", "0"], {"MINT_MODEL": str(tmp_path / "none.onnx")}, "none.onnx does not exist"),
        (["--port", "0"], {"MINT_MODEL": str(damaged)}, f"{damaged} is not a whole ONNX file"),
    ]:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["mint", "serve", *options])
            patched.delenv("MINT_CHROMIUM", raising=False)  # of the tests, and not of the service
            for name, value in {"MINT_MODEL": str(model_path), "MINT_PROVIDER": "cpu", **settings}.items():
                patched.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        assert str(ended.value).startswith("error: ")
        assert sentence in str(ended.value)
        assert "\n" not in str(ended.value)
        assert capsys.readouterr() == ("", "")


def test_the_health_check_requests_the_listening_address(server: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINT_LISTEN", f"0.0.0.0:{server.client.base_url.port}")
    health.main()
    monkeypatch.setenv("MINT_LISTEN", "127.0.0.1:1")
    with pytest.raises(SystemExit, match="the service does not answer"):
        health.main()


BENTOML_SCRIPT = """
import asyncio, os, signal
from bentoml._internal.utils.analytics.usage_stats import do_not_track
tracking_off_before = do_not_track()
import uvicorn
from serving import service
print(tracking_off_before, do_not_track())

async def receive():
    return await messages.get()

async def send(message):
    sent.append(message)

async def status(app, path):
    sent.clear()
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    await app(scope, receive, send)
    return sent[0]["status"]

async def main():
    app = service.Mint.to_asgi()
    stop = asyncio.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())  # as uvicorn has it
    messages.put_nowait({"type": "lifespan.startup"})
    running = asyncio.create_task(app({"type": "lifespan", "state": {}}, receive, send))
    while await status(app, "/readyz") != 200:
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    while await status(app, "/readyz") == 200:
        await asyncio.sleep(0.01)
    print(await status(app, "/readyz"), stop.is_set())
    await stop.wait()
    served = uvicorn.Config(app)
    served.load()
    print(served.http_protocol_class.func.__name__, served.forwarded_allow_ips == "")
    messages.put_nowait({"type": "lifespan.shutdown"})
    await running

messages, sent = asyncio.Queue(), []
asyncio.run(main())
"""


def test_bentoml_serves_the_same_app_drains_it_and_sends_no_usage_data(model_path: Path, tmp_path: Path) -> None:
    theirs = ("MINT_", "BENTOML_DO_NOT_TRACK", "FORWARDED_ALLOW_IPS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    environment |= {"BENTOML_HOME": str(tmp_path), "MINT_MODEL": str(model_path), "MINT_DRAIN": "2"}
    script = subprocess.run(
        [sys.executable, "-c", BENTOML_SCRIPT],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert script.stdout == "False True\n503 False\nRequestProtocol True\n"
