"""Label files: CSVs of file,tag or file,tag,tag and StyleGAN's dataset.json, complete, incomplete and contradictory."""

import json

import numpy as np
import pytest

from tests.training.project import Project, picture
from training.data.manifest import DataError

FILES = {name: picture() for name in ("a.png", "b.png", "c.png", "d.png")}


def tag(project: Project, rows: str, **files: bytes) -> None:
    """Write the images, and a CSV in another folder."""
    project.write(FILES | files)
    project.write({"tags.csv": rows.encode()}, under="labels")


@pytest.mark.parametrize("header", ["", "file,tag\n", "filename,label\n", "\ufefffile,tag\n"])
def test_rows_become_labels_with_and_without_a_header(project: Project, header: str) -> None:
    tag(project, header + "a.png,cat\nb.png,dog\nc.png,cat\nd.png,dog\n")
    assert project.labels(labels="labels/tags.csv") == {"a.png": "cat", "b.png": "dog", "c.png": "cat", "d.png": "dog"}


@pytest.mark.parametrize("first", ["a", "x/a", "./x/a", "elsewhere/a", "0001", "x/gone"])
def test_a_first_row_that_names_a_file_without_a_suffix_is_not_a_header(project: Project, first: str) -> None:
    project.write({"x/a": picture(), "x/b": picture()})
    project.write({"tags.csv": f"{first},cat\nb,dog\n".encode()}, under="labels")
    with project.open(labels="labels/tags.csv") as found:
        assert len(found.items) + found.unknown_files == 2


@pytest.mark.parametrize(
    "rows",
    [
        b"\xef\xbb\xbfa.png,cat\nb.png,dog\n",
        b"a.png,cat\rb.png,dog\r",
        b"a.png,cat\r\n\r\nb.png,dog",
        b"a.png;cat\nb.png;dog\n",
        b"file;tag\na.png;cat\nb.png;dog\n",
        b"a.png\tcat\nb.png\tdog\n",
        b"sep=;\r\na.png;cat\r\nb.png;dog\r\n",
        b'"a.png","cat"\n"b.png","dog"\n,\n',
        b".\\a.png,cat\nC:\\photos\\b.png,dog\n",
        "a.png\tcat\r\nb.png\tdog\r\n".encode("utf-16"),
    ],
    ids=["bom", "cr", "crlf", "semicolons", "header", "tabs", "sep", "quotes", "backslashes", "utf-16"],
)
def test_csv_dialects_of_editors_and_spreadsheets_are_read(project: Project, rows: bytes) -> None:
    project.write({"a.png": picture(), "b.png": picture()})
    project.write({"tags.csv": rows}, under="labels")
    assert project.labels(labels="labels/tags.csv") == {"a.png": "cat", "b.png": "dog"}


def test_a_comma_in_a_tag_is_kept_when_semicolons_delimit(project: Project) -> None:
    project.write({"a.png": picture(), "b.png": picture()})
    project.write({"tags.csv": b"a.png;red, dark\nb.png;blue\n"}, under="labels")
    assert project.labels(labels="labels/tags.csv") == {"a.png": "red, dark", "b.png": "blue"}


def test_numeric_tags_are_sorted_numerically(project: Project) -> None:
    tag(project, "a.png,10\nb.png,9\nc.png,2\n")
    with project.open(labels="labels/tags.csv") as found:
        assert found.classes == ["2", "9", "10"]


def test_files_without_a_row_are_dropped_and_counted(project: Project) -> None:
    tag(project, "a.png,cat\nb.png,dog\nc.png,\ngone.png,cat\nlost.png,dog\n")
    counts = project.prepare(labels="labels/tags.csv").counts
    assert (counts.files, counts.candidates, counts.untagged, counts.unknown_files) == (4, 2, 2, 2)
    assert counts.skipped == 0


def test_files_with_tags_outside_classes_txt_are_dropped_and_counted(project: Project) -> None:
    tag(project, "a.png,cat\nb.png,dog\nc.png,dgo\nd.png,dgo\n")
    project.write({"classes.txt": b"dog\ncat\n"}, under="labels")
    manifest = project.prepare(labels="labels/tags.csv")
    assert manifest.classes == ("dog", "cat")
    assert manifest.images_per_class == {"dog": 1, "cat": 1}
    assert manifest.counts.unknown_tags == {"dgo": 2}
    assert manifest.counts.skipped == 0


def test_classes_are_the_sorted_tags(project: Project) -> None:
    tag(project, "a.png,zebra\nb.png,ant\nc.png,moose\nd.png,ant\n")
    with project.open(labels="labels/tags.csv") as found:
        assert found.classes == ["ant", "moose", "zebra"]


def test_a_csv_among_the_images_is_not_counted_as_one(project: Project) -> None:
    project.write(FILES | {"tags.csv": b"a.png,cat\nb.png,dog\n", "classes.txt": b"cat\ndog\n"})
    counts = project.prepare(labels="photos/tags.csv").counts
    assert (counts.files, counts.candidates, counts.untagged) == (4, 2, 2)


def test_a_row_names_its_file_by_path_or_by_base_name(project: Project) -> None:
    project.write({"x/a.png": picture(), "x/b.png": picture(), "y/b.png": picture()})
    project.write({"tags.csv": b"elsewhere/a.png,cat\n./x/b.png,dog\ny\\b.png,eel\n"}, under="labels")
    labels = project.labels(labels="labels/tags.csv")
    assert labels == {"x/a.png": "cat", "x/b.png": "dog", "y/b.png": "eel"}


def test_csv_rows_take_precedence_over_class_folders(project: Project) -> None:
    project.write({"x/a.png": picture(), "y/b.png": picture()})
    project.write({"tags.csv": b"a.png,one\nb.png,two\n"}, under="labels")
    assert project.labels(labels="labels/tags.csv") == {"x/a.png": "one", "y/b.png": "two"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,cat\nb.png\n", "labels/tags.csv line 2: 1 columns; write file,tag"),
        ("a.png,cat\nb.png,dog,3\n", "labels/tags.csv line 2: 3 columns; write file,tag"),
        ("a.png,cat\na.png,dog\n", "labels/tags.csv line 2: a.png is tagged dog here and cat above; keep one row"),
        ("gone.png,cat\n", "labels/tags.csv tags none of the 4 files in photos; write their names in its first column"),
        ("", "labels/tags.csv tags none of the 4 files in photos; write their names in its first column"),
    ],
)
def test_an_invalid_csv_gives_a_one_line_error(project: Project, rows: str, message: str) -> None:
    tag(project, rows)
    with pytest.raises(DataError) as error:
        project.prepare(labels="labels/tags.csv")
    assert str(error.value) == message


def test_an_ambiguous_base_name_is_refused(project: Project) -> None:
    project.write({"x/a.png": picture(), "y/a.png": picture()})
    project.write({"tags.csv": b"a.png,cat\n"}, under="labels")
    with pytest.raises(DataError, match=r"a\.png could be x/a\.png or y/a\.png; write paths"):
        project.labels(labels="labels/tags.csv")


def test_two_rows_with_the_same_base_name_are_refused(project: Project) -> None:
    project.write({"a.png": picture()})
    project.write({"tags.csv": b"x/a.png,cat\ny/a.png,dog\n"}, under="labels")
    with pytest.raises(DataError, match=r"x/a\.png and y/a\.png could be a\.png; write paths"):
        project.labels(labels="labels/tags.csv")


def test_a_missing_csv_lists_the_valid_values(project: Project) -> None:
    project.write(FILES)
    with pytest.raises(DataError) as error:
        project.prepare(labels="atuo")
    assert str(error.value) == (
        "params.yaml: data.labels = 'atuo' cannot be read: No such file or directory; write auto, none or a CSV file"
    )


def test_a_csv_in_another_encoding_gives_a_one_line_error(project: Project) -> None:
    project.write(FILES)
    project.write({"tags.csv": "a.png,caf\u00e9\n".encode("latin-1")}, under="labels")
    with pytest.raises(DataError, match=r"labels/tags\.csv is not a CSV file in UTF-8"):
        project.prepare(labels="labels/tags.csv")


def test_unknown_tags_only_give_an_error_that_says_why(project: Project) -> None:
    tag(project, "a.png,cat\nb.png,dog\n")
    project.write({"classes.txt": b"eel\n"}, under="labels")
    with pytest.raises(DataError, match="leaves none of 4 files: 2 have no row, and the others have tags that its"):
        project.prepare(labels="labels/tags.csv")


FACES = "a.png,aqua hair,red eyes\nb.png,aqua hair,blue eyes\nc.png,pink hair,red eyes\nd.png,aqua hair,red eyes\n"


@pytest.mark.parametrize("header", ["", "file,hair,eyes\n", "file,hair + tint,eyes\n"])
def test_each_combination_of_several_tags_is_a_class(project: Project, header: str) -> None:
    tag(project, header + FACES)
    manifest = project.prepare(labels="labels/tags.csv")
    assert manifest.images_per_class == {
        "aqua hair + blue eyes": 1, "aqua hair + red eyes": 2, "pink hair + red eyes": 1
    }  # fmt: skip
    assert manifest.class_tags == (("aqua hair", "blue eyes"), ("aqua hair", "red eyes"), ("pink hair", "red eyes"))


def test_the_tag_matrix_has_a_row_per_class_and_a_column_per_tag(project: Project) -> None:
    tag(project, FACES)
    table = project.prepare(labels="labels/tags.csv").tag_matrix
    assert table.dtype == np.float32
    assert table.tolist() == [  # aqua hair, blue eyes, red eyes, pink hair
        [1, 1, 0, 0],
        [1, 0, 1, 0],
        [0, 0, 1, 1],
    ]


def test_the_tag_matrix_of_single_tags_is_the_identity(project: Project) -> None:
    tag(project, "a.png,zebra\nb.png,ant\nc.png,moose + calf\nd.png,ant\n")
    manifest = project.prepare(labels="labels/tags.csv")
    assert manifest.class_tags == (("ant",), ("moose + calf",), ("zebra",))
    assert np.array_equal(manifest.tag_matrix, np.eye(3, dtype=np.float32))


def test_a_folder_with_a_plus_in_its_name_is_one_tag(project: Project) -> None:
    project.write({"a + b/1.png": picture(), "a/1.png": picture(), "b/1.png": picture()})
    manifest = project.prepare()
    assert manifest.class_tags == (("a",), ("a + b",), ("b",))
    assert np.array_equal(manifest.tag_matrix, np.eye(3, dtype=np.float32))


def test_without_classes_there_are_no_tags(project: Project) -> None:
    project.write(FILES)
    manifest = project.prepare()
    assert manifest.class_tags == ()
    assert manifest.tag_matrix.shape == (0, 0)


def test_an_empty_cell_is_a_tag_that_the_image_does_not_have(project: Project) -> None:
    tag(project, "a.png,aqua hair,red eyes\nb.png,,red eyes\nc.png,aqua hair,\nd.png, ,\n")
    manifest = project.prepare(labels="labels/tags.csv")
    assert manifest.class_tags == (("aqua hair",), ("aqua hair", "red eyes"), ("red eyes",))
    assert manifest.classes == ("aqua hair", "aqua hair + red eyes", "red eyes")
    assert manifest.tag_matrix.tolist() == [[1, 0], [1, 1], [0, 1]]
    assert manifest.counts.untagged == 1


def test_tags_of_a_combination_without_readable_images_are_dropped(project: Project) -> None:
    tag(project, FACES, **{"b.png": b"no picture"})
    manifest = project.prepare(labels="labels/tags.csv", max_skipped=0.5)
    assert manifest.empty_classes == ("aqua hair + blue eyes",)
    assert manifest.class_tags == (("aqua hair", "red eyes"), ("pink hair", "red eyes"))
    assert manifest.tag_matrix.tolist() == [[1, 1, 0], [0, 1, 1]]


def test_classes_txt_selects_combinations(project: Project) -> None:
    tag(project, FACES)
    names = b"pink hair + red eyes\ngreen hair + red eyes\naqua hair + red eyes\n"
    project.write({"classes.txt": names}, under="labels")
    manifest = project.prepare(labels="labels/tags.csv")
    assert manifest.classes == ("pink hair + red eyes", "aqua hair + red eyes")
    assert manifest.class_tags == (("pink hair", "red eyes"), ("aqua hair", "red eyes"))
    assert manifest.empty_classes == ("green hair + red eyes",)
    assert manifest.counts.unknown_tags == {"aqua hair + blue eyes": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,red,sad\nb.png,red\n", "line 2: 2 columns; write file,tag,tag as line 1 does"),
        ("\nfile,x,y\n\na.png,red,sad,old\n", "line 4: 4 columns; write file,tag,tag as line 2 does"),
        ("a.png,red,sad\na.png,,sad\n", "line 2: a.png is tagged sad here and red + sad above; keep one row"),
        (
            "a.png,red,sad\nb.png,red + blue,sad\n",
            "line 2: the tag 'red + blue' has a + of its own, which joins tags; write another word",
        ),
        ("a.png,red +,sad\n", "line 1: the tag 'red +' has a + of its own, which joins tags; write another word"),
        (
            "a.png,red,blue\nb.png,,red\n",
            "line 2: red is a tag in column 3 and in column 2; give each column its own tags, or leave a cell empty",
        ),
    ],
)
def test_ambiguous_tags_give_a_one_line_error(project: Project, rows: str, message: str) -> None:
    tag(project, rows)
    assert project.open_error(labels="labels/tags.csv") == f"labels/tags.csv {message}"


PETS = {f"{name}/{number}.png": picture() for name in ("cat", "dog") for number in range(2)}


def shards(project: Project, labels: object, wrapper: str = "") -> None:
    """Write twelve images and a dataset.json with these labels, as StyleGAN's dataset tool does."""
    names = [f"{number // 6:05d}/img{number:08d}.png" for number in range(12)]
    content = {"labels": labels(names) if callable(labels) else labels}
    files = {name: picture() for name in names} | {"dataset.json": json.dumps(content).encode()}
    project.write({wrapper + name: content for name, content in files.items()})


@pytest.mark.parametrize("wrapper", ["", "faces/"])
@pytest.mark.parametrize(
    "labels",
    [
        lambda names: [[name, number % 3] for number, name in enumerate(names)],
        lambda names: {name: number % 3 for number, name in enumerate(names)},
        lambda names: [[name.replace("/", "\\"), number % 3] for number, name in enumerate(names)],
        lambda names: [[name, [float(number % 3 == k) for k in range(3)]] for number, name in enumerate(names)],
    ],
    ids=["list", "dict", "backslashes", "one-hot"],
)
def test_the_labels_of_dataset_json_are_used(project: Project, labels: object, wrapper: str) -> None:
    shards(project, labels, wrapper)
    manifest = project.prepare()
    assert manifest.images_per_class == {"0": 4, "1": 4, "2": 4}
    assert manifest.left_out == ()


def test_null_labels_in_dataset_json_mean_no_classes(project: Project) -> None:
    shards(project, None)
    assert set(project.labels().values()) == {None}


def test_an_image_without_a_label_in_dataset_json_is_ignored(project: Project) -> None:
    shards(project, lambda names: [[name, 7] for name in names[:5]] + [[names[5], 12]])
    manifest = project.prepare()
    assert manifest.images_per_class == {"7": 5, "12": 1}
    assert [(kind.kind, kind.files) for kind in manifest.left_out] == [("pictures that dataset.json gives no label", 6)]


def test_a_dataset_json_of_another_tool_is_ignored(project: Project) -> None:
    project.write(PETS | {"dataset.json": b'{"title": "pets"}'})
    assert set(project.labels().values()) == {"cat", "dog"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"labels": [["0', "dataset.json is not JSON: "),
        (b'{"labels": [["cat/0.png", "cat"]]}', 'dataset.json: "labels" must be a list of [file, class number]'),
        (b'{"labels": 7}', 'dataset.json: "labels" must be a list of [file, class number]'),
        (b'{"labels": [["x.png", 1]]}', "dataset.json lists none of the 4 pictures; remove it, or make it anew"),
    ],
)
def test_an_invalid_dataset_json_gives_a_one_line_error(project: Project, content: bytes, message: str) -> None:
    project.write(PETS | {"dataset.json": content})
    assert project.open_error().startswith(message)
