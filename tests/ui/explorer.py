"""The explorer page in a browser, as a person uses it, and a watch over what must never happen in it."""

import base64
import io
import time
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect

Pixels = NDArray[np.uint8]

PATIENCE_S = 60  # for a machine with much else to do
PAUSE_MS = 10
BUSY = "[aria-busy=true]:visible"
READ = "canvases => canvases.map(canvas => canvas.toDataURL('image/png'))"


class Explorer:
    """A page of the explorer."""

    def __init__(self, page: Page, address: str) -> None:
        """address: of the service, such as http://127.0.0.1:3000."""
        self.page = page
        self.address = address
        self.loads = 0
        self.problems: list[str] = []
        self.requests: list[Request] = []
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self._record)

    def forget(self) -> None:
        """Starts to watch anew."""
        self.problems.clear()
        self.requests.clear()

    def open(self, view: str = "") -> "Explorer":
        """Loads the page with this behind the #, and waits until it shows everything."""
        self.loads += 1
        self.page.goto(f"{self.address}/?{self.loads}#{view}")  # only another # would not load the page again
        expect(self.page.locator("#sheet .painted").first).to_be_attached()
        return self.settle()

    def settle(self) -> "Explorer":
        """Waits until nothing is loading."""
        deadline = time.monotonic() + PATIENCE_S
        while self.page.locator(BUSY).count():  # `expect` looks again after ever longer pauses
            self.page.wait_for_timeout(PAUSE_MS)
            assert time.monotonic() < deadline, self.page.locator(BUSY).all()
        return self

    @property
    def view(self) -> str:
        """What stands behind the # of the address."""
        return urlsplit(self.page.url).fragment

    def cells(self, gallery: str) -> Locator:
        """The pictures of a gallery, by the id of its list."""
        return self.page.locator(f"#{gallery} .cell")

    def pixels(self, canvas: str) -> Pixels:
        """What a canvas shows, uint8 [H, W, 3]."""
        return _pixels(self.page.locator(canvas).evaluate_all(READ)[0])

    def pictures(self, gallery: str, count: int | None = None) -> Pixels:
        """The pictures of a gallery, or the first `count` of them, uint8 [N, H, W, 3]."""
        return np.stack([_pixels(url) for url in self.page.locator(f"#{gallery} canvas").evaluate_all(READ)[:count]])

    def panel(self, name: str) -> None:
        """Turns to a panel of the inspector and waits for its pictures."""
        self.page.get_by_role("tab", name=name).click()
        self.settle()

    def slide(self, slider: str, value: float) -> None:
        """Moves a slider there and lets it go."""
        self.page.locator(slider).fill(str(value))
        self.settle()

    def asked(self, path: str) -> list[Request]:
        """The requests so far whose address holds this path."""
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
    """A canvas, given as a data URL, as uint8 [H, W, 3]."""
    content = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))
