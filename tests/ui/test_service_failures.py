"""Service failures: the page reports a busy, starting, slow or stopped service and recovers by itself."""

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.live_service import live_service, start
from tests.tiny_model import save, tiny_model
from tests.ui.explorer import Explorer


def fail_requests(explorer: Explorer, times: int, status: int, sentence: str, headers: dict[str, str]) -> None:
    """Makes the next requests for pictures fail with an error response."""

    def fulfill(route: Route) -> None:
        body = {"error": sentence, "detail": []}
        route.fulfill(status=status, json=body, headers=headers)

    explorer.page.route(re.compile("/generate"), fulfill, times=times)


@pytest.mark.parametrize(
    ("status", "message_text"), [(429, "The service is busy."), (503, "The service is not ready yet.")]
)
def test_the_page_honours_retry_after(explorer: Explorer, status: int, message_text: str) -> None:
    fail_requests(explorer, 1, status, "300 images are waiting already; try again in 2 s", {"Retry-After": "2"})
    explorer.page.goto(explorer.address)
    message = explorer.page.locator("#message")
    expect(message).to_contain_text(message_text)
    expect(message).to_contain_text("300 images are waiting already")
    expect(message).to_contain_text("Trying again in 2 s.")
    expect(explorer.page.get_by_role("status")).to_contain_text(message_text)
    expect(message).to_contain_text("Trying again in 1 s.")
    expect(message).to_be_hidden()
    explorer.settle()
    assert explorer.pictures("samples").std() > 0
    explorer.problems.clear()  # the browser logs the expected error


def test_a_download_waits_for_a_busy_service(explorer: Explorer) -> None:
    explorer.open("seeds=0-3")
    fail_requests(explorer, 1, 429, "300 images are waiting already", {"Retry-After": "1"})
    with explorer.page.expect_download() as download:
        explorer.page.locator("#samples-download [data-format=zip]").click()
    assert download.value.path().read_bytes()[:2] == b"PK"
    explorer.problems.clear()


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(504, "the images were not ready within 60 s; ask for fewer or try again later"), (500, "something went wrong")],
)
def test_other_errors_are_shown_with_a_button_to_try_again(explorer: Explorer, status: int, sentence: str) -> None:
    explorer.open("seeds=0-3")
    before = explorer.pictures("samples")
    fail_requests(explorer, 1, status, sentence, {})
    explorer.page.get_by_label("Class", exact=True).select_option("dog")
    expect(explorer.page.locator("#message")).to_contain_text(sentence[1:])
    explorer.page.get_by_role("button", name="Try again").click()
    explorer.settle()
    expect(explorer.page.locator("#message")).to_be_hidden()
    assert (explorer.pictures("samples") != before).any()
    explorer.problems.clear()


def test_the_services_error_sentence_is_shown(explorer: Explorer) -> None:
    explorer.open("seeds=0-3&panel=edit&open=e(7,d0:9999)&picks=1")
    fail_requests(explorer, 1, 400, "latents[0] has a number too many", {})
    explorer.page.get_by_role("button", name="Reset").click()
    expect(explorer.page.locator("#message")).to_contain_text("Latents[0] has a number too many.")
    explorer.page.get_by_role("button", name="Close", exact=True).click()
    expect(explorer.page.locator("#message")).to_be_hidden()
    explorer.problems.clear()


def test_the_page_recovers_from_a_replaced_model_and_a_restarted_service(browser: Browser, tmp_path: Path) -> None:
    model = save(tiny_model(), tmp_path / "tiny.onnx")
    with live_service(model, tmp_path / "bentoml") as service:
        explorer = Explorer(browser.new_page(), str(service.client.base_url).rstrip("/")).open("seeds=0-9")
        message, old = explorer.page.locator("#message"), explorer.view

        save(tiny_model(weights=1), tmp_path / "new").replace(model)
        while service.client.get("/model").json()["model_id"] in old:
            time.sleep(0.1)
        explorer.page.get_by_label("Class", exact=True).select_option("cat")
        expect(message).to_contain_text("is no longer served; showing pictures of another one")
        expect(explorer.page.get_by_role("button", name="Seed 5, cat")).to_be_visible()
        assert old.split("&")[0] not in explorer.view

        service.process.terminate()
        service.process.wait()
        explorer.page.get_by_label("Class", exact=True).select_option("dog")
        expect(message).to_contain_text("The service is not responding.")
        expect(message).to_contain_text(re.compile(r"Trying again in \d s\."))
        restarted = start(model, tmp_path / "bentoml", service.client.base_url.port)
        try:
            expect(message).to_contain_text("The service is back.", timeout=60_000)
            explorer.settle()
            expect(explorer.page.get_by_role("button", name="Seed 5, dog")).to_be_visible()
        finally:
            explorer.page.close()
            restarted.terminate()
            restarted.wait()
