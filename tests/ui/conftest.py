"""Fixtures: one browser and one service with two models for all tests of the page."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.browser import chromium
from tests.live_service import LiveService, live_service
from tests.tiny_model import LATENT_DIM, save, tiny_card, tiny_model, with_card
from tests.ui.explorer import TIMEOUT_S, Explorer

DIRECTIONS = tuple(tuple(row) for row in np.eye(LATENT_DIM)[:2].tolist())
RESOLUTION = 128  # of the model without classes

NewExplorer = Callable[..., Explorer]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Headless Chromium; closed before other packages' tests because Playwright blocks their event loops."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.onnx (8x8x3; cat, dog, eel; two directions) and mist.onnx (128x128x3, neither)."""
    folder = tmp_path_factory.mktemp("models")
    save(with_card(tiny_model(), tiny_card(directions=DIRECTIONS)), folder / "tiny.onnx")
    mist = tiny_model(classes=(), resolution=RESOLUTION)
    save(with_card(mist, tiny_card(classes=(), resolution=RESOLUTION, name="mist")), folder / "mist.onnx")
    return folder


@pytest.fixture(scope="package")
def service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """The service with both models ready."""
    with live_service(models / "tiny.onnx", tmp_path_factory.mktemp("bentoml")) as service:
        while len(service.client.get("/models").json()["models"]) < 2:
            time.sleep(0.05)
        yield service


@pytest.fixture(scope="package")
def client(service: LiveService) -> httpx.Client:
    """HTTP client of the service, without the page."""
    return service.client


@pytest.fixture(scope="package")
def shared(browser: Browser, service: LiveService) -> Iterator[Explorer]:
    """A desktop page, shared because opening a new one for each test dominates the running time."""
    expect.set_options(timeout=1000 * TIMEOUT_S)
    context = new_context(browser)
    yield Explorer(context.new_page(), address_of(service))
    context.close()


@pytest.fixture
def explorer(shared: Explorer) -> Iterator[Explorer]:
    """A desktop page; the test fails if the page has reported any problem at its end."""
    shared.reset()
    yield shared
    shared.page.unroute_all()
    shared.page.evaluate("localStorage.clear()")
    assert shared.problems == []


@pytest.fixture
def new_explorer(browser: Browser, service: LiveService) -> Iterator[NewExplorer]:
    """Factory of pages with a browser context of their own; options are those of Playwright's new_context."""
    contexts: list[BrowserContext] = []
    explorers: list[Explorer] = []

    def make(**options: Any) -> Explorer:
        contexts.append(new_context(browser, **options))
        explorers.append(Explorer(contexts[-1].new_page(), address_of(service)))
        return explorers[-1]

    yield make
    for context in contexts:
        context.close()
    assert [problem for explorer in explorers for problem in explorer.problems] == []


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
    context.set_default_timeout(1000 * TIMEOUT_S)
    return context


def address_of(service: LiveService) -> str:
    return str(service.client.base_url).rstrip("/")
