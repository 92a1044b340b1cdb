"""Summary of skipped tests at the end of a pytest run."""

import os
import subprocess
import sys

from tests.live_service import ROOT


def test_skipped_tests_are_counted_and_explained_at_the_end() -> None:
    command = [sys.executable, "-m", "pytest", "tests/ui/test_links.py", "-p", "no:cacheprovider"]
    environment = os.environ | {"MINT_CHROMIUM": "/nowhere/chromium"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    *_, reason, count = ran.stdout.strip().splitlines()
    assert reason.startswith("SKIPPED [")
    assert "no chromium: make system installs it" in reason
    assert count.partition(" ")[2].startswith("skipped")
