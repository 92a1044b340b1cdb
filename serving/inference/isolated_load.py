"""Isolated check of a model file in a subprocess, so that a crash or exhausted memory spares the service.

    python -m serving.inference.isolated_load NAME < FILE

Loads and runs the file under memory and time limits. Exits with 0 when it can be served, and with 1 and one sentence
about NAME when it cannot.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from serving.errors import ModelError

MEMORY_BYTES = 4 << 30  # of address space
CPU_S = 60
TIMEOUT_S = 90  # a process that waits for something spends no CPU time
EXIT_REFUSED = 1
OUT_OF_MEMORY = ("bad_alloc", "allocate memory", "MemoryError", "bad allocation")
LIMIT_SIGNALS = (signal.SIGXCPU, signal.SIGKILL)


def check_in_subprocess(content: bytes, path: Path) -> None:
    """Load and run a model file in a subprocess.

    Raises ModelError with the subprocess's sentence, or one about its exit; OSError when it cannot be started.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-m", "serving.inference.isolated_load", str(path)],
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path} was not loaded within {TIMEOUT_S} s; export it again") from None
    sentence = child.stdout.decode(errors="replace").strip()
    if child.returncode == 0:
        return
    if child.returncode == EXIT_REFUSED and sentence:
        raise ModelError(sentence)
    if -child.returncode in LIMIT_SIGNALS:
        raise ModelError(f"{path} takes more than {CPU_S} s to load, or was ended meanwhile; export it again")
    raise ModelError(f"{path} makes ONNX Runtime crash ({_exit_name(child.returncode)}); export it again")


def main() -> None:
    """Entry point of the subprocess: limits itself, loads the file from stdin, runs the smallest and largest batch."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_CPU, CPU_S)
    with contextlib.suppress(OSError):  # if memory runs out, the system should kill this process and not its parent
        Path("/proc/self/oom_score_adj").write_text("1000")
    # The limits are set before ONNX Runtime is imported, so that they apply to its own start, too.
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    path, content = Path(sys.argv[1]), sys.stdin.buffer.read()
    try:
        from serving.inference.generator import MAX_BATCH, OnnxGenerator

        OnnxGenerator.open(content, path, "cpu", threads=1).warm_up((MAX_BATCH,))
    except (ModelError, MemoryError) as error:
        sentence = str(error)
        if any(words in f"{type(error).__name__}: {error}" for words in OUT_OF_MEMORY):
            sentence = f"{path} takes more than {MEMORY_BYTES >> 30} GB of memory; export a smaller one"
        sys.stdout.buffer.write(os.fsencode(sentence))
        sys.stdout.flush()
        os._exit(EXIT_REFUSED)
    os._exit(0)  # a clean shutdown would only take time


def _limit(kind: int, value: int) -> None:
    """Set a resource limit of this process, capped at its current hard limit."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _exit_name(status: int) -> str:
    """The signal that ended a process, or its exit status, in words."""
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"exit status {status}"


if __name__ == "__main__":
    main()
