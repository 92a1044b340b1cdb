"""What was not tested is said at the end of the run, where it is read."""

import os
import subprocess
import sys

from tests.live_service import ROOT


def test_tests_that_are_skipped_are_counted_and_explained_at_the_end() -> None:
    command = [sys.executable, "-m", "pytest", "tests/ui/test_links.py", "-p", "no:cacheprovider"]
    environment = os.environ | {"MINT_CHROMIUM": "/nowhere/chromium"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    *_, to_input_error, closing = ran.stdout.strip().splitlines()
    assert to_input_error.startswith("SKIPPED [")
    assert "no chromium: make system installs it" in to_input_error
    assert closing.partition(" ")[2].startswith("skipped")
