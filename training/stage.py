"""How a stage starts and stops: errors meant for people are printed as one line, without a traceback."""

import sys
from collections.abc import Callable

from serving.errors import MintError

INTERRUPTED = 130  # the shell's status for a process ended by Ctrl-C


def run(main: Callable[[], None]) -> None:
    """Runs a stage; exits with 1 after a MintError and with 130 after Ctrl-C."""
    try:
        main()
    except MintError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("stopped; run the same command to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
