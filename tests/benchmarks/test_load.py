"""Load benchmark: like is compared with like, and the report holds what was measured."""

import importlib.util
import io
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from PIL import Image

from benchmarks.baselines import commands
from benchmarks.load import __main__ as bench
from benchmarks.load import measure, profile
from benchmarks.load.cpu_timer import signal_every
from benchmarks.load.http_client import ONE_PNG, Request, metric_total, send
from benchmarks.load.models import write_altered
from benchmarks.load.tables import print_report
from benchmarks.load.wrk import LoadResult, parse, require_wrk
from serving.errors import MintError
from serving.inference.generator import OnnxGenerator


def round_result(slowness: float) -> measure.RoundResult:
    """Results of a round in which all servers are slower by this factor."""
    names = (*(each.name for each in commands.ALL), measure.BY_URL, measure.NOT_MODIFIED)
    singles = {
        name: LoadResult(1000 * (place + 1) / slowness, slowness, 2 * slowness) for place, name in enumerate(names)
    }
    return measure.RoundResult(
        singles, LoadResult(10 / slowness, 1, 2), {"network": 800 / slowness, "with_latents": 640 / slowness}
    )


@pytest.fixture
def report() -> dict[str, object]:
    """A report as `make bench` writes it."""
    result = measure.summary([round_result(slowness) for slowness in (1, 4, 2)])
    spent = dict.fromkeys(profile.REPORTED_PURPOSES, 50.0)
    shares = {
        "requests_per_s": 900.0,
        "cpu_us": 500.0,
        "by_purpose": spent,
        "top": {"serving.http.routes.generate": 80.0},
    }
    return {
        "hardware": "2 cores",
        "rounds": 3,
        "seconds": 10,
        "models": {"default": result, "dcgan-64": result},
        "targets": bench.targets({"default": result, "dcgan-64": result}),
        "profile": {"png": shares, "304": shares},
    }


def test_figures_are_medians_over_the_rounds_and_ratios_are_divided_within_round_result() -> None:
    result = measure.summary([round_result(slowness) for slowness in (1, 4, 2)])
    assert result["singles"]["mint"] == {"requests_per_s": 500, "p50_ms": 2, "p99_ms": 4}
    assert result["batch"]["images_per_s"] == 320
    assert result["ratios"]["batch over bare loop"] == pytest.approx(0.8)
    assert result["ratios"]["batch over bare loop with latents"] == pytest.approx(1.0)
    assert result["ratios"]["mint over fastapi"] == pytest.approx(1 / 2)
    mine, other = [10, 30, 20], [10, 10, 40]
    assert measure.ratio(mine, other) == 1.0 != median(mine) / median(other)


def test_every_target_is_compared_with_its_ratio_on_both_models(report: dict[str, object]) -> None:
    names = {(target["model"], target["name"]) for target in report["targets"]}  # type: ignore[attr-defined]
    assert names == {(model, name) for model in ("default", "dcgan-64") for name in bench.TARGETS}


def test_the_tables_show_every_server_in_at_most_120_columns(
    report: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    print_report(report)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 120
    assert all(each.name in printed and each.description in printed for each in commands.ALL)
    assert all(name in printed for name in (*bench.TARGETS, *profile.REPORTED_PURPOSES, "p50 ms", "p99 ms", "missed"))


def test_a_run_with_errors_is_rejected() -> None:
    line = '{{"requests": 10, "seconds": 2.0, "p50_ms": 1.5, "p99_ms": 3.0, "error_status": {}, "broken": {}}}'
    assert parse("mint", "Running 2s test\n" + line.format(0, 0)) == LoadResult(5, 1.5, 3)
    with pytest.raises(MintError, match=r"mint sent no response within 2 s"):
        parse("mint", line.replace("10", "0").format(0, 0))
    for error_status, broken in ((1, 0), (0, 1)):
        with pytest.raises(MintError, match=r"mint: of 10 requests"):
            parse("mint", line.format(error_status, broken))


def test_without_wrk_the_error_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MintError, match=r"apt-get install wrk"):
        require_wrk()


def test_a_request_template_is_filled_with_seeds() -> None:
    head, body = ONE_PNG.to_bytes([3, 11]).split(b"\r\n\r\n")
    assert body == b'{"seeds": [3,11], "format": "png"}'
    assert f"Content-Length: {len(body)}".encode() in head
    assert Request("GET", "/images/SEEDS.png").to_bytes([7]).startswith(b"GET /images/7.png HTTP/1.1\r\n")


def test_a_metric_is_summed_over_its_labels_and_told_from_names_with_the_same_prefix() -> None:
    page = (
        b'# HELP mint_images_total x\nmint_images_total{model="a"} 3.0\nmint_images_total{model="b"} 4.0\nmint_images 9'
    )
    assert metric_total(page, "mint_images_total") == 7
    assert metric_total(page, "mint_queue_images") == 0


def test_cpu_time_is_attributed_to_the_innermost_module_with_a_purpose() -> None:
    assert profile.purpose_of("serving.inference.batcher") == profile.QUEUE
    assert profile.purpose_of("serving.http.routes") == profile.MIDDLEWARE
    assert profile.purpose_of("uvicorn.protocols.http.httptools_impl") == profile.HTTP
    assert profile.purpose_of("json.decoder") is None
    assert profile.attribute(sys._getframe()) == (profile.OTHER, f"{__name__}.{sys._getframe().f_code.co_qualname}")


def test_every_module_with_a_purpose_exists() -> None:
    """A renamed module would silently move its time to the package's purpose."""
    assert [module for module in profile.PURPOSES if importlib.util.find_spec(module) is None] == []


def test_the_cpu_timer_signals_a_thread_while_it_computes_and_not_while_it_sleeps() -> None:
    signals: list[int] = []
    before = signal.signal(signal.SIGPROF, lambda number, frame: signals.append(number))
    with signal_every(0.001, signal.SIGPROF, threading.current_thread()):
        time.sleep(0.05)
        asleep = len(signals)
        began = time.thread_time()
        while time.thread_time() - began < 0.1:
            pass
    signal.signal(signal.SIGPROF, before)
    assert asleep <= 2
    assert len(signals) >= 10


def test_an_altered_model_is_valid_and_generates_other_images(model_path: Path, tmp_path: Path) -> None:
    altered = OnnxGenerator.load(write_altered(model_path, tmp_path / "altered.onnx"), "cpu")
    original = OnnxGenerator.load(model_path, "cpu")
    assert altered.model_id != original.model_id
    assert np.abs(altered.generate([7])[0].astype(int) - original.generate([7])[0]).max() > 1


def test_all_servers_return_the_same_images(model_path: Path, tmp_path: Path) -> None:
    generator = OnnxGenerator.load(model_path, "cpu")
    with ExitStack() as stack:
        servers = measure.start_all(stack, commands.environment(model_path, threads=1), tmp_path)
        measure.check_same_image(model_path, servers)
        for each in (commands.MINT, *commands.BASELINES):
            for seed in (0, 4_000_000_000):
                response = send(servers[each.name].port, each.request, [seed])
                assert response.headers["content-type"] == "image/png"
                pixels = np.asarray(Image.open(io.BytesIO(response.body)))
                assert np.abs(pixels.astype(int) - generator.generate([seed])[0][0]).max() <= 1, each.name
        bare = send(servers[commands.STARLETTE.name].port, ONE_PNG, [7])
        assert Image.open(io.BytesIO(bare.body)).size == (8, 8)
        assert measure.not_modified_request(servers[commands.MINT.name].port).headers
