"""Headless Chromium for tests of pages."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHROMIUMS = ("/usr/bin/chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; close it before other tests, because Playwright blocks their event loops."""
    configured = os.environ.get("MINT_CHROMIUM")
    executable = next(filter(None, map(shutil.which, (configured,) if configured else CHROMIUMS)), None)
    if executable is None:
        pytest.skip("no chromium: make system installs it, or let MINT_CHROMIUM name one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()
