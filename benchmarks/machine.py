"""Description of the machine in benchmark reports."""

from pathlib import Path


def cpu_model() -> str:
    """Model name of the CPU, from /proc/cpuinfo; `platform.processor()` is empty on Debian."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unnamed CPU")
