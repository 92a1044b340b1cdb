"""The benchmark of the service compares like with like, says what it measured, and its drills tell kept from broken."""

import asyncio
import io
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from PIL import Image

from benchmarks.baselines import commands
from benchmarks.faults import clients, drain, overload, swap, under_attack
from benchmarks.faults.fault_test import Check, conclude
from benchmarks.load import __main__ as bench
from benchmarks.load import measure, profile
from benchmarks.load.cpu_timer import signal_every
from benchmarks.load.messages import ONE_PNG, Request, ask, metric
from benchmarks.load.models import write_altered
from benchmarks.load.tables import show
from benchmarks.load.wrk import Load, parse, require_wrk
from serving.errors import MintError
from serving.inference.generator import OnnxGenerator
from training import paths


def a_round(slowness: float) -> measure.Round:
    """One in which everyone is as much slower."""
    names = (*(each.name for each in commands.ALL), measure.BY_URL, measure.UNCHANGED)
    singles = {name: Load(1000 * (place + 1) / slowness, slowness, 2 * slowness) for place, name in enumerate(names)}
    return measure.Round(
        singles, Load(10 / slowness, 1, 2), {"network": 800 / slowness, "with_latents": 640 / slowness}
    )


@pytest.fixture
def report() -> dict[str, object]:
    """A report as `make bench` writes it."""
    result = measure.summary([a_round(slowness) for slowness in (1, 4, 2)])
    spent = dict.fromkeys(profile.PURPOSES_SHOWN, 50.0)
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


def test_figures_are_medians_over_the_rounds_and_ratios_are_divided_within_a_round() -> None:
    result = measure.summary([a_round(slowness) for slowness in (1, 4, 2)])
    assert result["singles"]["mint"] == {"requests_per_s": 500, "p50_ms": 2, "p99_ms": 4}
    assert result["batch"]["images_per_s"] == 320
    assert result["ratios"]["batch over bare loop"] == pytest.approx(0.8)
    assert result["ratios"]["batch over bare loop with latents"] == pytest.approx(1.0)
    assert result["ratios"]["mint over fastapi"] == pytest.approx(1 / 2)
    mine, other = [10, 30, 20], [10, 10, 40]
    assert measure.ratio(mine, other) == 1.0 != median(mine) / median(other)


def test_every_aim_is_held_against_its_ratio_on_both_models(report: dict[str, object]) -> None:
    names = {(target["model"], target["name"]) for target in report["targets"]}  # type: ignore[attr-defined]
    assert names == {(model, name) for model in ("default", "dcgan-64") for name in bench.AIMS}


def test_the_tables_show_everyone_on_lines_that_fit(
    report: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    show(report)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 120
    assert all(each.name in printed and each.what in printed for each in commands.ALL)
    assert all(name in printed for name in (*bench.AIMS, *profile.PURPOSES_SHOWN, "p50 ms", "p99 ms", "missed"))


def test_a_run_with_errors_is_no_measurement() -> None:
    line = '{{"requests": 10, "seconds": 2.0, "p50_ms": 1.5, "p99_ms": 3.0, "refused": {}, "broken": {}}}'
    assert parse("mint", "Running 2s test\n" + line.format(0, 0)) == Load(5, 1.5, 3)
    with pytest.raises(MintError, match=r"mint answered nothing within 2 s"):
        parse("mint", line.replace("10", "0").format(0, 0))
    for refused, broken in ((1, 0), (0, 1)):
        with pytest.raises(MintError, match=r"mint: of 10 requests"):
            parse("mint", line.format(refused, broken))


def test_a_machine_without_wrk_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MintError, match=r"apt-get install wrk"):
        require_wrk()


def test_a_request_goes_over_the_wire_with_its_seeds_filled_in() -> None:
    head, body = ONE_PNG.to_bytes([3, 11]).split(b"\r\n\r\n")
    assert body == b'{"seeds": [3,11], "format": "png"}'
    assert f"Content-Length: {len(body)}".encode() in head
    assert Request("GET", "/images/SEEDS.png").to_bytes([7]).startswith(b"GET /images/7.png HTTP/1.1\r\n")


def test_a_metric_is_summed_over_its_labels_and_not_confused_with_its_neighbours() -> None:
    page = (
        b'# HELP mint_images_total x\nmint_images_total{model="a"} 3.0\nmint_images_total{model="b"} 4.0\nmint_images 9'
    )
    assert metric(page, "mint_images_total") == 7
    assert metric(page, "mint_queue_images") == 0


def test_time_is_divided_by_what_the_innermost_known_module_is_for() -> None:
    assert profile.purpose_of("serving.inference.batcher") == profile.QUEUE
    assert profile.purpose_of("serving.http.routes") == profile.EDGE
    assert profile.purpose_of("uvicorn.protocols.http.httptools_impl") == profile.HTTP
    assert profile.purpose_of("json.decoder") is None
    assert profile.place(sys._getframe()) == (profile.OTHER, f"{__name__}.{sys._getframe().f_code.co_qualname}")


def test_a_thread_is_signalled_for_the_time_that_it_computes_and_not_while_it_sleeps() -> None:
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


def test_an_altered_model_is_sound_and_draws_other_images(model_path: Path, tmp_path: Path) -> None:
    altered = OnnxGenerator.load(write_altered(model_path, tmp_path / "altered.onnx"), "cpu")
    original = OnnxGenerator.load(model_path, "cpu")
    assert altered.model_id != original.model_id
    assert np.abs(altered.draw([7])[0].astype(int) - original.draw([7])[0]).max() > 1


def test_all_contestants_draw_the_same_pictures(model_path: Path, tmp_path: Path) -> None:
    generator = OnnxGenerator.load(model_path, "cpu")
    with ExitStack() as stack:
        servers = measure.start_all(stack, commands.environment(model_path, threads=1), tmp_path)
        measure.check_same_picture(model_path, servers)
        for each in (commands.MINT, *commands.RIVALS):
            for seed in (0, 4_000_000_000):
                answer = ask(servers[each.name].port, each.request, [seed])
                assert answer.headers["content-type"] == "image/png"
                pixels = np.asarray(Image.open(io.BytesIO(answer.body)))
                assert np.abs(pixels.astype(int) - generator.draw([seed])[0][0]).max() <= 1, each.name
        bare = ask(servers[commands.STARLETTE.name].port, ONE_PNG, [7])
        assert Image.open(io.BytesIO(bare.body)).size == (8, 8)
        assert measure.unchanged_request(servers[commands.MINT.name].port).headers


def kept(promises: list[Check]) -> dict[str, bool]:
    return {promise.what: promise.kept for promise in promises}


def test_what_is_too_much_is_turned_away_in_order() -> None:
    """Without the promises about time and memory, as the machine that runs tests is busy."""
    promises = kept(asyncio.run(overload.drill(paths.MODEL, seconds=1)))
    assert promises["every answer is 200 or 429"]
    assert promises["some are accepted, some are turned away"]
    assert promises["every 429 says when to come back"]


def test_vanished_clients_leave_no_work_behind(model_path: Path) -> None:
    promises = kept(asyncio.run(clients.drill(model_path, clients=80)))
    assert promises["the queue is empty afterwards"]
    assert promises["open files are back to the start"]
    assert promises["a normal request afterwards is answered"]


def test_no_accepted_request_is_lost_when_the_service_is_ended(model_path: Path) -> None:
    assert all(kept(drain.drill(model_path, rounds=1)).values())


def test_a_model_is_replaced_under_load_and_a_damaged_one_is_not_served(model_path: Path) -> None:
    assert all(kept(asyncio.run(swap.drill(model_path, rounds=1))).values())


def test_under_attack_no_plain_picture_is_refused(model_path: Path) -> None:
    """Without the promises about time and memory, as the machine that runs tests is busy."""
    seen = asyncio.run(under_attack.drill(model_path, ["long names", "unread", "large pictures"], seconds=0.5))
    assert [attack.attacker for attack in seen] == [0, 0, 0]
    assert all(probe.times_ms and not probe.failed for attack in seen for probe in (attack.live, attack.picture))


def test_a_slow_answer_a_failed_one_and_memory_that_stays_break_promises_under_attack() -> None:
    def attack(time_ms: float = 5, failed: int = 0, after: float = 100, attacker: int = 0) -> under_attack.Seen:
        live = under_attack.Probe(b"", [time_ms], failed)
        return under_attack.Seen("an attack", live, under_attack.Probe(b"", [5]), (100, 300, after), attacker)

    seen = [attack(), attack(after=149), attack(1001), attack(failed=1), attack(after=151), attack(attacker=1)]
    assert [promise.kept for promise in under_attack.verdict(seen)] == [True, True, False, False, False, False]


def test_a_drill_with_a_broken_promise_fails(capsys: pytest.CaptureFixture[str]) -> None:
    conclude("quiet", [Check("nothing is lost", "0 of 9", kept=True)])
    with pytest.raises(SystemExit) as exit:
        conclude("loud", [Check("nothing is lost", "1 of 9", kept=False)])
    assert exit.value.code == 1
    assert "BROKEN  nothing is lost" in capsys.readouterr().out


def test_a_lost_request_and_a_strange_answer_break_promises() -> None:
    sound = drain.Round(Counter({200: 9}), lost=0, told=1, unready=True, exit_code=0)
    lossy = drain.Round(Counter({200: 8, 500: 1}), lost=1, told=1, unready=True, exit_code=0)
    assert all(kept(drain.verdict([sound])).values())
    broken = {what for what, was_kept in kept(drain.verdict([sound, lossy])).items() if not was_kept}
    assert broken == {"no accepted request is lost", "every answer is 200"}
