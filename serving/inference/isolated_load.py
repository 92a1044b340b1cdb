"""A trial of a model file in a process of its own, so that one that crashes or eats memory takes no service with it.

    python -m serving.inference.isolated_load NAME < FILE

Loads and runs the file under limits of memory and time. Exits with 0 when it can be served, and with 1 and one sentence
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
DEADLINE_S = 90  # a process that waits for something spends no CPU time
REFUSED = 1
OUT_OF_MEMORY = ("bad_alloc", "allocate memory", "MemoryError", "bad allocation")
GIVEN_UP = (signal.SIGXCPU, signal.SIGKILL)


def try_model(content: bytes, path: Path) -> None:
    """Loads and runs a model file in a child process.

    Raises ModelError with the child's sentence, or one that says how it ended; OSError when it cannot be started.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-m", "serving.inference.isolated_load", str(path)],
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path} was not loaded within {DEADLINE_S} s; export it again") from None
    said = child.stdout.decode(errors="replace").strip()
    if child.returncode == 0:
        return
    if child.returncode == REFUSED and said:
        raise ModelError(said)
    if -child.returncode in GIVEN_UP:
        raise ModelError(f"{path} takes more than {CPU_S} s to load, or was ended meanwhile; export it again")
    raise ModelError(f"{path} makes ONNX Runtime crash ({_ending(child.returncode)}); export it again")


def main() -> None:
    """The child: limits itself, then loads what it is sent and runs the smallest and the largest batch."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_CPU, CPU_S)
    with contextlib.suppress(
        OSError
    ):  # where the machine runs out of memory, this process should go and not its parent
        Path("/proc/self/oom_score_adj").write_text("1000")
    # The limits stand before ONNX Runtime is there, and so do those of its own start.
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    path, content = Path(sys.argv[1]), sys.stdin.buffer.read()
    try:
        from serving.inference.generator import MAX_BATCH, OnnxGenerator

        OnnxGenerator.open(content, path, "cpu", threads=1).warm_up((MAX_BATCH,))
    except (ModelError, MemoryError) as error:
        said = f"{type(error).__name__}: {error}"
        if any(words in said for words in OUT_OF_MEMORY):
            said = f"{path} takes more than {MEMORY_BYTES >> 30} GB of memory; export a smaller one"
        else:
            said = str(error)
        sys.stdout.buffer.write(os.fsencode(said))
        sys.stdout.flush()
        os._exit(REFUSED)
    os._exit(0)  # nothing of it is needed any more, and taking it down takes time


def _limit(what: int, value: int) -> None:
    """Sets a limit of this process, within what it has been given."""
    _, most = resource.getrlimit(what)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(what, (value, value))


def _ending(status: int) -> str:
    """How a process has ended, in words."""
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"exit status {status}"


if __name__ == "__main__":
    main()
