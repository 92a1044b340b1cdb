"""Environment of a training run: everything besides the state of a checkpoint that the next steps depend on.

Checkpoints hold it, so that `mint verify` can name what has changed when a stretch of a run cannot be repeated.
"""

import platform
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from training.data.manifest import Manifest
from training.gan.checkpoint import NOT_FINGERPRINTED
from training.params import Params
from training.stage_code import ROOT, code_files

LIBRARIES = ("torch", "torchvision", "torch-fidelity", "timm", "lightning-fabric", "numpy", "pillow")

Environment = dict[str, Any]


def environment(params: Params, manifest: Manifest, device: torch.device) -> Environment:
    """Data, parameters, code, libraries and processor of this process, as plain values."""
    return {
        "data": {"sha256": manifest.data_sha256, "classes": list(manifest.classes)},
        "params": {
            "data": {
                "resolution": params.data.resolution.notation,
                "channels": params.data.channels,
                "background": params.data.background,
            },
            "network": params.network.model_dump(mode="json"),
            "objective": params.objective.model_dump(mode="json"),
            "stabilise": params.stabilise.model_dump(mode="json"),
            "train": params.train.model_dump(mode="json"),
        },
        "code": {str(file.relative_to(ROOT)): sha256(file.read_bytes()).hexdigest() for file in code_files("train")},
        "library": {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        "processor": processor(device),
    }


def processor(device: torch.device) -> dict[str, Any]:
    """Processor, its vector instructions and the number of threads: each changes the order in which sums are added."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unnamed CPU"),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def differences(then: Environment, now: Environment) -> Iterator[tuple[str, str]]:
    """Yield what differs, as (kind, what), in the order of the kinds: data, params, code, library, processor."""
    for kind in then:
        flat_then, flat_now = dict(_flat(then[kind])), dict(_flat(now[kind]))
        for key in dict.fromkeys([*flat_then, *flat_now]):
            if flat_then.get(key) != flat_now.get(key) and key.removeprefix("train.") not in NOT_FINGERPRINTED:
                yield kind, _described(kind, key, flat_then.get(key), flat_now.get(key))


def _described(kind: str, key: str, then: object, now: object) -> str:
    if kind == "code":
        return key
    if kind == "data":
        return f"{key} {str(then)[:12]} -> {str(now)[:12]}"
    return f"{key} {then} -> {now}"


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
