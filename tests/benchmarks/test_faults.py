"""Fault tests: each runs against the service, and its checks tell a pass from a failure."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.faults import clients, drain, overload, swap, under_attack
from benchmarks.faults.fault_test import Check, report_checks
from training import paths


def passed(checks: list[Check]) -> dict[str, bool]:
    return {check.requirement: check.passed for check in checks}


def test_overload_is_rejected_with_429_and_retry_after() -> None:
    """Without the checks of latency and memory, as the machine that runs tests is busy."""
    result = passed(asyncio.run(overload.run_test(paths.MODEL, seconds=1)))
    assert result["every status is 200 or 429"]
    assert result["some are accepted, some rejected"]
    assert result["every 429 has a Retry-After"]


def test_disconnected_clients_leave_no_work_behind(model_path: Path) -> None:
    result = passed(asyncio.run(clients.run_test(model_path, clients=80)))
    assert result["the queue is empty afterwards"]
    assert result["open files are back to the start"]
    assert result["a normal request afterwards succeeds"]


def test_no_accepted_request_is_lost_on_sigterm(model_path: Path) -> None:
    assert all(passed(drain.run_test(model_path, rounds=1)).values())


def test_models_promoted_and_rolled_back_are_loaded_under_load_and_a_damaged_one_is_not_served(
    model_path: Path,
) -> None:
    assert all(passed(asyncio.run(swap.run_test(model_path, rounds=2))).values())


def test_plain_images_are_served_under_attack(model_path: Path) -> None:
    """Without the checks of latency and memory, as the machine that runs tests is busy."""
    results = asyncio.run(under_attack.run_test(model_path, ["long names", "unread", "large images"], seconds=0.5))
    assert [attack.exit_status for attack in results] == [0, 0, 0]
    assert all(probe.times_ms and not probe.failed for attack in results for probe in (attack.live, attack.image))


def test_slow_and_failed_responses_and_unreleased_memory_fail_the_check_under_attack() -> None:
    def attack(time_ms: float = 5, failed: int = 0, after: float = 100, attacker: int = 0) -> under_attack.AttackResult:
        live = under_attack.Probe(b"", [time_ms], failed)
        return under_attack.AttackResult("an attack", live, under_attack.Probe(b"", [5]), (100, 300, after), attacker)

    results = [attack(), attack(after=149), attack(1001), attack(failed=1), attack(after=151), attack(attacker=1)]
    assert [check.passed for check in under_attack.evaluate(results)] == [True, True, False, False, False, False]


def test_a_failed_check_ends_the_command_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    report_checks("quiet", [Check("nothing is lost", "0 of 9", passed=True)])
    with pytest.raises(SystemExit) as exit:
        report_checks("loud", [Check("nothing is lost", "1 of 9", passed=False)])
    assert exit.value.code == 1
    assert "FAILED  nothing is lost" in capsys.readouterr().out


def test_a_lost_request_and_a_500_fail_the_drain_test() -> None:
    good = drain.DrainResult(Counter({200: 9}), lost=0, closed=1, unready=True, exit_code=0)
    bad = drain.DrainResult(Counter({200: 8, 500: 1}), lost=1, closed=1, unready=True, exit_code=0)
    assert all(passed(drain.evaluate([good])).values())
    failed = {requirement for requirement, ok in passed(drain.evaluate([good, bad])).items() if not ok}
    assert failed == {"no accepted request is lost", "every status is 200"}
