"""Page object of the explorer: user actions, and a record of console errors and requests to other hosts."""

import base64
import io
import time
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect

Pixels = NDArray[np.uint8]

TIMEOUT_S = 60  # for a machine under load
POLL_MS = 10
BUSY = "[aria-busy=true]:visible"
TO_DATA_URLS = "canvases => canvases.map(canvas => canvas.toDataURL('image/png'))"


class Explorer:
    """The explorer page in one browser tab."""

    def __init__(self, page: Page, address: str) -> None:
        """address: base URL of the service, such as http://127.0.0.1:3000."""
        self.page = page
        self.address = address
        self.loads = 0
        self.problems: list[str] = []
        self.requests: list[Request] = []
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self._record)

    def reset(self) -> None:
        """Clears the recorded problems and requests."""
        self.problems.clear()
        self.requests.clear()

    def open(self, view: str = "") -> "Explorer":
        """Loads the page with a view in the fragment, and waits until all pictures are shown."""
        self.loads += 1
        self.page.goto(f"{self.address}/?{self.loads}#{view}")  # a new fragment alone would not reload the page
        expect(self.page.locator("#samples .painted").first).to_be_attached()
        return self.settle()

    def settle(self) -> "Explorer":
        """Waits until nothing is loading."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.page.locator(BUSY).count():  # `expect` polls at growing intervals
            self.page.wait_for_timeout(POLL_MS)
            assert time.monotonic() < deadline, self.page.locator(BUSY).all()
        return self

    @property
    def view(self) -> str:
        """Fragment of the page's URL."""
        return urlsplit(self.page.url).fragment

    def cells(self, gallery: str) -> Locator:
        """Buttons of a gallery, given by the id of its list."""
        return self.page.locator(f"#{gallery} .cell")

    def pixels(self, canvas: str) -> Pixels:
        """Pixels of a canvas, uint8 [H, W, 3]."""
        return _pixels(self.page.locator(canvas).evaluate_all(TO_DATA_URLS)[0])

    def pictures(self, gallery: str, count: int | None = None) -> Pixels:
        """Pixels of a gallery's pictures, or of the first `count` of them, uint8 [N, H, W, 3]."""
        return np.stack(
            [_pixels(url) for url in self.page.locator(f"#{gallery} canvas").evaluate_all(TO_DATA_URLS)[:count]]
        )

    def show_panel(self, name: str) -> None:
        """Switches to a tab of the inspector and waits for its pictures."""
        self.page.get_by_role("tab", name=name).click()
        self.settle()

    def slide(self, slider: str, value: float) -> None:
        """Drags a slider to a value and releases it."""
        self.page.locator(slider).fill(str(value))
        self.settle()

    def requests_to(self, path: str) -> list[Request]:
        """Requests so far whose URL contains this path."""
        return [request for request in self.requests if path in request.url]

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def _record(self, request: Request) -> None:
        self.requests.append(request)
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data") and not request.url.startswith(self.address):
            self.problems.append(f"a request to {parts.netloc}")


def _pixels(url: str) -> Pixels:
    """Decodes a data URL to uint8 [H, W, 3]."""
    content = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))
