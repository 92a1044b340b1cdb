"""The machine that figures were taken on, in words that belong to no one machine."""

from pathlib import Path


def cpu_model() -> str:
    """The processor's name from /proc/cpuinfo; Python's own `platform.processor()` is empty on Debian."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unnamed CPU")
