"""Sample grids: rows of classes with their names, and the grid of a running training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from serving.encoding.images import GAP
from tests.training.project import Project
from tests.training.tiny_gan import tiny_gan
from training import paths, sample_grids
from training.gan.trainer import GANTrainer
from training.sample_grids import MARGIN, SampleGrids, label_rows, row_label, sample_images

CELL = 28 + GAP


def grids(classes: tuple[str, ...], gan: GANTrainer | None = None) -> SampleGrids:
    gan = gan or tiny_gan(len(classes))
    return SampleGrids(gan.ema, gan.latent_dim, classes, labels=torch.arange(max(len(classes), 1)), batch=8)


def margin_of(path: Path) -> np.ndarray:
    """Pixels left of the images, [H, W]."""
    pixels = np.asarray(Image.open(path).convert("L"))
    return pixels[:, : pixels.shape[1] - (10 * CELL - GAP)]


def test_every_row_has_the_name_of_its_class_beside_it(project: Project) -> None:
    grids(("ant", "butterfly")).save(Path("a.png"))
    margin = margin_of(Path("a.png"))
    first, second = margin[:28], margin[CELL : CELL + 28]
    assert first.min() < 100
    assert second.min() < 100
    inked = [np.flatnonzero(row.min(axis=0) < 128) for row in (first, second)]
    assert len(inked[1]) > len(inked[0])  # the longer name
    assert all(columns.max() < margin.shape[1] - MARGIN + 1 for columns in inked)
    assert margin[28:CELL].min() == 255


def test_without_classes_there_is_no_margin(project: Project) -> None:
    grids(()).save(Path("a.png"))
    assert Image.open("a.png").size == (10 * CELL - GAP, 8 * CELL - GAP)


def test_images_are_made_with_the_statistics_that_the_exported_model_will_have(project: Project) -> None:
    gan = tiny_gan(2)
    sample_grid = grids(("ant", "butterfly"), gan)
    sample_grid.save(Path("before.png"))
    norms = [module for module in gan.ema.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        assert norm.running_var is not None
        norm.running_var.fill_(100)  # as if the trained network's activations were far from those of its average
    sample_grid.save(Path("after.png"))
    assert Path("after.png").read_bytes() == Path("before.png").read_bytes()
    assert all((norm.running_var == 100).all() for norm in norms)  # training goes on with what it had


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_names_are_black_on_white_in_any_number_of_channels(channels: int) -> None:
    sheet = np.full((28, 30, channels), 7, np.uint8)
    labelled = label_rows(sheet, ["cat"], 28)
    margin = labelled[:, :-30]
    assert np.array_equal(labelled[:, -30:], sheet)
    assert margin[:, :, :3].min() < 100
    assert (margin[0] == 255).all()
    assert (margin[:, :, 3:] == 255).all()


@pytest.mark.parametrize("name", ["x" * 300, "line\nbreak\x1b[31m", "\u202eright to left", "花", "", "🌸" * 40])
def test_unusual_names_are_short_and_on_one_line(name: str) -> None:
    sheet = np.full((2 * CELL - GAP, 30, 1), 7, np.uint8)
    labelled = label_rows(sheet, ["cat", name], 28)
    assert labelled.shape[0] == sheet.shape[0]
    assert labelled.shape[1] < 300
    assert labelled[28:CELL, :-30].min() == 255


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ankle boot", "Ankle boot"),
        ("Blütenkörbchen", "Blutenkorbchen"),
        ("a" * 40, "a" * 17 + "..."),
        ("line\nbreak", "line\\nbreak"),
        ("花", "class 4"),
        (" ", "class 4"),
    ],
)
def test_names_are_shown_without_accents_cut_and_by_index_in_other_alphabets(name: str, shown: str) -> None:
    assert row_label(name, 4) == shown


def test_more_classes_than_rows_show_the_first_ones(project: Project) -> None:
    grids(tuple(f"class {index}" for index in range(13))).save(Path("a.png"))
    assert Image.open("a.png").height == 10 * CELL - GAP


def test_the_columns_of_a_grid_share_their_seeds() -> None:
    gan = tiny_gan(2)
    images = sample_images(gan.ema, gan.latent_dim, 2)
    assert images.shape == (20, 28, 28, 1)
    assert not np.array_equal(images[0], images[1])


def test_the_progress_grid_is_replaced_at_growing_intervals(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(sample_grids.time, "monotonic", lambda: now[0])
    saved = []
    running = grids(("a", "b"))
    for second in range(0, 600, 5):
        now[0] = 100.0 + second
        if running.save_progress():
            saved.append(second)
    assert paths.PROGRESS_GRID.exists()
    assert saved[0] <= 60
    intervals = np.diff(saved)
    assert (np.diff(intervals) >= 0).all()
    assert len(saved) > 5
