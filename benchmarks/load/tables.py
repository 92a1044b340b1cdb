"""Text tables of the load report, at most 120 columns wide."""

from collections.abc import Mapping
from typing import Any

from benchmarks.baselines import commands

DESCRIPTIONS = {each.name: each.description for each in commands.ALL}


def print_report(report: Mapping[str, Any]) -> None:
    """Print all tables."""
    print(f"\n{report['hardware']}; {report['rounds']} x {report['seconds']} s; medians, ratios within a round")
    for name, result in report["models"].items():
        print_batch(name, result)
        print_singles(name, result)
    print_targets(report["targets"])
    print_profile(report["profile"])


def print_batch(model: str, result: Mapping[str, Any]) -> None:
    """Print the batch throughput: 64 seeds as npy, one request after another."""
    batch = result["batch"]
    print(f"\n{model}: 64 seeds as npy, one request after another{'images/s':>30}{'p50 ms':>12}{'p99 ms':>12}")
    print(f"  {'mint':70}{batch['images_per_s']:>12.0f}{batch['p50_ms']:>12.1f}{batch['p99_ms']:>12.1f}")
    print(f"  {'bare ONNX Runtime loop':70}{batch['bare_loop_images_per_s']:>12.0f}")
    print(
        f"  {'the same, latents made from seeds in the loop':70}{batch['bare_loop_with_latents_images_per_s']:>12.0f}"
    )


def print_singles(model: str, result: Mapping[str, Any]) -> None:
    """Print the servers by throughput: PNG of one seed, 32 connections; fastest first."""
    print(f"\n{model + ': PNG of one seed, 32 connections':60}{'requests/s':>12}{'p50 ms':>12}{'p99 ms':>12}")
    for name, load in sorted(result["singles"].items(), key=lambda item: -item[1]["requests_per_s"]):
        figures = f"{load['requests_per_s']:>12.0f}{load['p50_ms']:>12.1f}{load['p99_ms']:>12.1f}"
        print(f"  {name:18}{DESCRIPTIONS.get(name, ''):40}{figures}")
    print()
    for name, value in result["ratios"].items():
        print(f"  {name:58}{value:>12.2f}")


def print_targets(targets: list[dict[str, Any]]) -> None:
    """Print every target beside the ratio that was reached."""
    print(f"\n{'target':60}{'ratio':>12}{'at least':>12}")
    for target in targets:
        reached = "" if target["ratio"] >= target["at_least"] else "  missed"
        name = f"{target['model']}: {target['name']}"
        print(f"  {name:58}{target['ratio']:>12.2f}{target['at_least']:>12.2f}{reached}")


def print_profile(profile: Mapping[str, Any]) -> None:
    """Print CPU time a request by purpose, and the functions with most of it."""
    print(f"\n{'CPU microseconds a request':60}" + "".join(f"{name:>12}{'share':>9}" for name in profile))
    for purpose in next(iter(profile.values()))["by_purpose"]:
        cells = [(each["by_purpose"][purpose], each["cpu_us"]) for each in profile.values()]
        print(f"  {purpose:58}" + "".join(f"{spent:>12.0f}{spent / whole:>9.0%}" for spent, whole in cells))
    print(f"  {'in all':58}" + "".join(f"{each['cpu_us']:>12.0f}{1:>9.0%}" for each in profile.values()))
    rates = ", ".join(f"{each['requests_per_s']:.0f} {name}" for name, each in profile.items())
    print(f"  (requests/s while profiled: {rates})")
    for name, each in profile.items():
        print(f"\n  {name + ': heaviest functions on the event loop':80}{'microseconds':>14}")
        for function, spent in each["top"].items():
            print(f"  {function[-78:]:80}{spent:>14.0f}")
