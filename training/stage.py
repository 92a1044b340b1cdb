"""Entry point of the stages: signals, exit codes, and errors as one line without a traceback."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from serving.error_messages import escaped
from serving.errors import MintError
from serving.files import remove_stale_temporaries
from training import paths
from training.system_errors import explain_system_error, prepare_streams

INTERRUPTED = 130  # the shell's exit code for SIGINT
WRITTEN_FILES = (paths.PREPARED_CACHE_RECORD, paths.CANDIDATE_MODEL, paths.MODEL, paths.METRICS)
OUTPUT_FOLDERS = {path.parent for path in WRITTEN_FILES} | {paths.SAMPLES}


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage; exit with 1 after an error that the user can fix and with 130 after SIGINT, SIGTERM or SIGHUP.

    SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does, so that the stage can clean up, unless they are ignored,
    as under nohup.
    """
    prepare_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        for folder in OUTPUT_FOLDERS:
            remove_stale_temporaries(folder)
        main()
        sys.stdout.flush()  # here, where an error can still be reported
    except MintError as error:
        _exit(f"error: {error}", 1)
    except KeyboardInterrupt:
        _exit("stopped; run the same command to go on", INTERRUPTED)
    except (OSError, MemoryError, RuntimeError) as error:
        message = explain_system_error(error)
        if message is None:
            raise
        _exit(f"error: {message}", 1)


def _exit(message: str, status: int) -> NoReturn:
    """Print a message to stderr, with control characters escaped, and end the process."""
    with suppress(OSError):  # the terminal may be closed
        print(escaped(message), file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except OSError:  # otherwise Python flushes again at exit and prints a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
