"""Survey and recommendation: what is found in sets of pictures of each kind, and what is chosen for them."""

from collections.abc import Callable
from functools import partial

import pytest
from PIL import Image

from serving.inference.image_shape import Resolution
from tests.training.picture_sets import blurred, drawing, photograph, pictures, sprite
from tests.training.project import Project, encoded, picture
from training.announcement import found_lines
from training.data.manifest import DataError
from training.recommend import FEW, Recommendation, recommend
from training.survey import Survey, survey

GREY = partial(photograph, grey=True)
SQUARE = Resolution(64, 64)


@pytest.fixture
def look_at(project: Project) -> Callable[[dict[str, bytes]], Survey]:
    """Look at files in a folder."""

    def look(files: dict[str, bytes]) -> Survey:
        project.write(files)
        with project.open() as source:
            return survey(source)

    return look


LookAt = Callable[[dict[str, bytes]], Survey]


def chosen(found: Survey, pictures: int = 4000) -> Recommendation:
    """The choice for a set of this many pictures like those that were looked at."""
    return recommend(Survey(pictures, found.classes, found.stats, 0))


def test_photographs_in_colour_get_the_preset_for_them(look_at: LookAt) -> None:
    assert chosen(look_at(pictures(photograph, 40, "JPEG"))) == Recommendation("photos", SQUARE, 3, horizontal_flip=0.5)


def test_grey_drawings_are_trained_in_grey_and_not_mirrored(look_at: LookAt) -> None:
    found = look_at(pictures(drawing, 40, "JPEG"))
    assert found.coloured == 0
    assert chosen(found) == Recommendation("default", SQUARE, 1, horizontal_flip=0.0)


def test_small_grey_pictures_keep_their_size(look_at: LookAt) -> None:
    assert chosen(look_at(pictures(partial(GREY, size=(28, 28)), 40))).resolution == (28, 28)
    assert chosen(look_at(pictures(partial(GREY, size=(40, 40)), 40))).resolution == (32, 32)


def test_few_pictures_get_the_preset_for_few(look_at: LookAt) -> None:
    assert recommend(look_at(pictures(photograph, 120))).preset == "few-shot"
    assert recommend(look_at(pictures(drawing, 120))).preset == "few-shot"


def test_the_border_of_few_is_where_the_table_says(look_at: LookAt) -> None:
    found = look_at(pictures(photograph, 8))
    assert (chosen(found, FEW).preset, chosen(found, FEW + 1).preset) == ("few-shot", "photos")


def test_a_single_picture_in_colour_among_a_few_keeps_them_all_in_colour(look_at: LookAt) -> None:
    files = pictures(drawing, 30) | {"red.png": picture(size=(128, 128))}
    assert chosen(look_at(files)).channels == 3


def test_transparent_sprites_keep_their_transparency_and_their_shape(look_at: LookAt) -> None:
    found = look_at(pictures(sprite, 40))
    assert (found.transparent, found.coloured, found.width, found.height) == (1, 1, 32, 48)
    assert recommend(found) == chosen(found) == Recommendation("sprites", Resolution(48, 32), 4, horizontal_flip=0.0)


def test_portraits_keep_their_shape(look_at: LookAt) -> None:
    assert chosen(look_at(pictures(partial(photograph, size=(80, 120)), 20))).resolution == (96, 64)
    assert chosen(look_at(pictures(partial(photograph, size=(160, 90)), 20))).resolution == (64, 112)


def test_pictures_of_mixed_shapes_are_cropped_to_squares(look_at: LookAt) -> None:
    sizes = [(80, 120), (120, 80), (100, 100), (90, 90)]
    files = {f"{n}.png": encoded(photograph(n, sizes[n % 4])) for n in range(20)}
    assert chosen(look_at(files)).resolution == SQUARE


def test_portraits_are_measured_upright(look_at: LookAt) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    landscapes = {f"{n}.jpg": encoded(photograph(n, (120, 80)), "JPEG", exif=turned) for n in range(8)}
    found = look_at(landscapes)
    assert (found.width, found.height) == (80, 120)


def test_blurred_pictures_are_counted_and_get_a_resolution_that_they_fill(look_at: LookAt) -> None:
    sharp = look_at(pictures(photograph, 20, "JPEG"))
    assert sharp.blurred(64) == 0
    found = look_at(pictures(blurred, 20, "JPEG"))
    assert found.blurred(64) == 1
    assert max(chosen(found).resolution) < 64


def test_copies_are_counted_whatever_their_format_and_size(look_at: LookAt) -> None:
    copies = {f"copy-{n}.jpg": encoded(photograph(n).resize((80, 80)), "JPEG", quality=80) for n in range(5)}
    assert look_at(pictures(photograph, 20)).duplicates == 0
    assert look_at(pictures(photograph, 20) | copies).duplicates == 5


def test_pictures_that_all_face_one_way_are_not_mirrored(look_at: LookAt) -> None:
    def facing_left(seed: int) -> Image.Image:
        image = photograph(seed)
        image.paste("orange", (0, 0, 48, 96))
        return image

    assert chosen(look_at(pictures(facing_left, 40))).horizontal_flip == 0


def test_classes_are_counted_and_unreadable_files_are_left_out(look_at: LookAt) -> None:
    files = {f"{name}/{n}.png": picture() for name, count in (("rose", 3), ("tulip", 2)) for n in range(count)}
    found = look_at(files | {"rose/broken.png": b"\x89PNG\r\n\x1a\nnothing"})
    assert found.classes == {"rose": 4, "tulip": 2}
    assert (found.pictures, found.unreadable, found.readable) == (6, 1, 5)


def test_a_look_ends_with_its_time(project: Project) -> None:
    project.write(pictures(photograph, 200))
    with project.open() as source:
        found = survey(source, seconds=0)
    assert 0 < found.examined < found.pictures == 200


def test_a_source_without_a_readable_picture_is_an_error(project: Project) -> None:
    project.write({"a.png": b"no picture"})
    with (
        project.open() as source,
        pytest.raises(DataError, match=r"no readable picture among its 1 files \(not an image"),
    ):
        survey(source)


def test_the_text_names_classes_copies_and_what_is_lost(look_at: LookAt, project: Project) -> None:
    files = {f"rose/{n}.png": encoded(photograph(n, (60, 90))) for n in range(6)}
    files |= {f"tulip/{n}.png": encoded(photograph(n, (60, 90))) for n in range(3)}
    found = look_at(files)
    assert found_lines(found, SQUARE) == [
        "9 colour pictures, 60 px wide and 90 high, 2 classes: rose (6), tulip (3)",
        "3 near-duplicates, 0% blurred at 64 px, 0 unreadable (looked at 9)",
    ]
