"""Sample grids: images of fixed seeds, one row per class with its name beside it where there are classes."""

import copy
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from serving.encoding.images import GAP, contact_sheet, encode
from serving.error_messages import escaped
from serving.files import atomic_write
from serving.inference import latents
from training import paths
from training.gan.ema import set_standing_statistics
from training.networks.inference_wrapper import InferenceGenerator

GRID_ROWS, GRID_COLUMNS = 8, 10
MAX_CLASS_ROWS = 10  # one row per class, in place of GRID_ROWS
MAX_NAME_LENGTH = 20  # characters of a class name; longer ones are cut
MIN_FONT_SIZE, MAX_FONT_SIZE = 11, 20  # pixels
MARGIN = 6  # pixels left and right of the names
PAPER, INK = 255, 0  # white, as the gaps of a contact sheet, and black
FIRST_PROGRESS_SECONDS = 30.0  # of training until the first progress grid; the next at 1.5 times that, and so on
PROGRESS_GROWTH = 1.5
TIMELINE_GROWTH = 1.3  # images seen at a grid of the timeline, over those at the one before, at least


class SampleGrids:
    """Sample grids of one generator.

    The grids in reports/samples are outputs of the stage, equal for equal inputs. reports/progress.png is replaced at
    growing intervals of time, so that there is something to see within a minute on any machine; it is no output, as
    its content depends on the machine's speed.

    generator: the EMA generator, in evaluation mode, on any device; its images are made with standing statistics, as
    those of the exported model. classes: their names; empty without classes. labels, batch: see
    `set_standing_statistics`.
    """

    def __init__(
        self, generator: nn.Module, latent_dim: int, classes: Sequence[str], labels: Tensor, batch: int
    ) -> None:
        self._generator, self._latent_dim, self._classes = generator, latent_dim, classes
        self._labels, self._batch = labels, batch
        self.progress_saved = False  # True after the first progress grid
        self._started = time.monotonic()
        self._next_progress = FIRST_PROGRESS_SECONDS  # seconds since `_started`

    def follow(self, generator: nn.Module, latent_dim: int, classes: Sequence[str]) -> None:
        """Show another generator from now on."""
        self._generator, self._latent_dim, self._classes = generator, latent_dim, classes

    def save(self, *files: Path) -> None:
        """Write the grid of the generator's present weights to each of these PNG files."""
        content = encode(self._grid(), "png")
        for file in files:
            with atomic_write(file) as path:
                path.write_bytes(content)

    def save_timeline(self, kimg: float) -> None:
        """Write the grid of reports/samples/kimg-*.jpg, unless the one before is of nearly as many images.

        These are for the slider of the run's page: JPEG, as there are up to twenty of them in every checkpoint.
        """
        before = max((float(file.stem.removeprefix("kimg-")) for file in paths.SAMPLES.glob("kimg-*.jpg")), default=0.0)
        if kimg >= TIMELINE_GROWTH * before:
            with atomic_write(paths.SAMPLES / f"kimg-{kimg:010.3f}.jpg") as path:
                path.write_bytes(encode(self._grid(), "jpeg"))

    def _grid(self) -> NDArray[np.uint8]:
        generator = copy.deepcopy(self._generator)  # training goes on with its own statistics
        set_standing_statistics(generator, self._latent_dim, self._labels, self._batch)
        images = sample_images(generator, self._latent_dim, len(self._classes))
        return label_rows(contact_sheet(images, GRID_COLUMNS), self._classes, images.shape[1])

    def save_progress(self) -> bool:
        """Replace reports/progress.png if it is time; returns whether it did."""
        if time.monotonic() - self._started < self._next_progress:
            return False
        self.save(paths.PROGRESS_GRID)
        self.progress_saved = True
        self._next_progress = (time.monotonic() - self._started) * PROGRESS_GROWTH
        return True


@torch.no_grad()
def sample_images(generator: nn.Module, latent_dim: int, classes: int) -> NDArray[np.uint8]:
    """Images of the sample grid, uint8 [N, H, W, C]; every class has the same seeds, so that columns compare."""
    rows = min(classes, MAX_CLASS_ROWS) if classes else GRID_ROWS
    seeds = list(range(GRID_COLUMNS)) * rows if classes else list(range(GRID_COLUMNS * rows))
    z, _ = latents.from_seeds(seeds, latent_dim)
    label = torch.arange(rows).repeat_interleave(GRID_COLUMNS) if classes else None
    device = next(generator.parameters()).device
    inference = InferenceGenerator(generator)
    images: NDArray[np.uint8] = (
        inference(torch.from_numpy(z).to(device), None if label is None else label.to(device)).cpu().numpy()
    )
    return images


def label_rows(grid: NDArray[np.uint8], names: Sequence[str], row_height: int) -> NDArray[np.uint8]:
    """Widen a contact sheet [H, W, C] on the left by the names of its first rows, in Pillow's own font.

    row_height: pixels of a row without the gap below it. Without names the sheet itself is returned.
    """
    height, _, channels = grid.shape
    rows = range(0, height, row_height + GAP)
    texts = [row_label(name, index) for index, (name, _) in enumerate(zip(names, rows, strict=False))]
    if not texts:
        return grid
    font = ImageFont.load_default(min(max(row_height // 4, MIN_FONT_SIZE), MAX_FONT_SIZE))
    boxes = [font.getbbox(text) for text in texts]
    strip = Image.new("L", (int(max(right for _, _, right, _ in boxes)) + 2 * MARGIN, height), PAPER)
    draw = ImageDraw.Draw(strip)
    for text, top, (_, text_top, text_right, text_bottom) in zip(texts, rows, boxes, strict=False):
        x = strip.width - MARGIN - text_right
        draw.text((x, top + (row_height - text_top - text_bottom) / 2), text, font=font, fill=INK)
    margin = np.full((height, strip.width, channels), 255, np.uint8)  # an alpha channel stays opaque
    margin[:, :, :3] = np.asarray(strip)[:, :, None]
    return np.concatenate([margin, grid], axis=1)


def row_label(name: str, index: int) -> str:
    """Class name as Pillow's font, which has only ASCII, can show it on one short line: without accents, cut.

    Names in other alphabets are replaced by the index of their class.
    """
    plain = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char)).strip()
    if not plain or not plain.isascii():
        return f"class {index}"
    text = escaped(plain)
    return text if len(text) <= MAX_NAME_LENGTH else f"{text[: MAX_NAME_LENGTH - 3]}..."
