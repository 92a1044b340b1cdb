"""How a stage starts and stops: what is meant for people is one line, without a traceback."""

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
from training.system_errors import ready_streams, sentence

INTERRUPTED = 130  # the shell's status for a process ended by Ctrl-C
WRITTEN_FILES = (paths.PREPARED_CACHE_RECORD, paths.MODEL, paths.METRICS)
OUTPUT_FOLDERS = {path.parent for path in WRITTEN_FILES} | {paths.SAMPLES}


def run_stage(main: Callable[[], None]) -> None:
    """Runs a stage; exits with 1 after an error that a person can mend and with 130 after a signal that asks to end.

    SIGTERM and a closed terminal end a stage as Ctrl-C does, so that it can tidy up, unless they are ignored as under
    nohup.
    """
    ready_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        for folder in OUTPUT_FOLDERS:
            remove_stale_temporaries(folder)
        main()
        sys.stdout.flush()  # here, where an error can still be told
    except MintError as error:
        _end(f"error: {error}", 1)
    except KeyboardInterrupt:
        _end("stopped; run the same command to go on", INTERRUPTED)
    except (OSError, MemoryError, RuntimeError) as error:
        told = sentence(error)
        if told is None:
            raise
        _end(f"error: {told}", 1)


def _end(told: str, status: int) -> NoReturn:
    """Tells a last sentence, in which no name can steer a terminal, to whoever still reads and ends the process."""
    with suppress(OSError):  # a terminal that was closed
        print(escaped(told), file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except OSError:  # Python would try again on its way out, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
