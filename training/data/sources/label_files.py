"""Label files: a CSV of file,tag or file,tag,tag,..., and the dataset.json of StyleGAN's dataset tool.

{"labels": [["00000/img00000000.png", 6], ["00000/img00000001.png", 9], ...]}
"""

import csv
import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any

from training.data.manifest import DataError
from training.data.sources.arrays import read_class_names
from training.data.sources.base import IgnoredFile, Item, Source, UnreadableImageError
from training.data.sources.class_folders import drop_labels, sort_classes
from training.data.sources.filenames import printable_name

MIN_COLUMNS = 2  # file,tag; further columns hold further kinds of tags
DELIMITERS = ",\t;"  # the first is the default, by which errors are reported
SEPARATOR_LINE = re.compile(r"sep=([^\r\n])(?:\r\n?|\n)")
FILE_LIKE = re.compile(r"[.\d/]")
TAG_SEPARATOR = " + "  # in the names of classes that combine tags
DATASET_JSON = "dataset.json"
UNLISTED_KIND = f"pictures that {DATASET_JSON} gives no label"


def labels_from_csv(source: Source, path: Path, folder: Path) -> Source:
    """Label images by the rows of a CSV; a row names its file by relative path or by an unambiguous base name.

    With several tag columns, each combination of tags is a class: "aqua hair + red eyes".
    folder: of the source, to recognise the CSV and its classes.txt among the images. Files without a row, or with a tag
    that classes.txt does not list, are dropped and counted. Raises DataError for a file that is not such a CSV,
    contradicts itself or tags nothing in the source.
    """
    names_file = path.with_name("classes.txt")
    known = read_class_names(names_file)
    label_files = {_relative_name(folder, path), _relative_name(folder, names_file) if known is not None else None}
    items = [item for item in source.items if item.name not in label_files]
    rows = _read_rows(path, {PurePosixPath(item.name).name for item in items})
    tags, unknown_files = _match_rows(items, rows, path)
    class_of = {name: TAG_SEPARATOR.join(file_tags) for name, file_tags in tags.items()}
    if not class_of:
        raise DataError(
            f"{path} tags none of the {len(items)} files in {folder}; write their names in its first column"
        )
    classes = known if known is not None else sort_classes(set(class_of.values()))
    index = {name: label for label, name in enumerate(classes)}
    return replace(
        source,
        items=[replace(item, label=index[class_of[item.name]]) for item in items if class_of.get(item.name) in index],
        classes=classes,
        class_tags={class_of[name]: file_tags for name, file_tags in tags.items()},
        untagged=sum(item.name not in class_of for item in items),
        unknown_tags=dict(sorted(Counter(name for name in class_of.values() if name not in index).items())),
        unknown_files=unknown_files,
        ignored=[entry for entry in source.ignored if entry.file not in label_files],
    )


def _relative_name(folder: Path, path: Path) -> str | None:
    """Return the path relative to the folder; None if it is elsewhere."""
    try:
        return printable_name(path.resolve().relative_to(folder.resolve()).as_posix())
    except ValueError:
        return None


def _read_rows(path: Path, base_names: set[str]) -> dict[str, tuple[str, ...]]:
    """Read the non-empty tags of each file, in the order of the columns; files without tags are dropped.

    The first row is a header if it names no file of the source and does not look like one: no dot, digit or slash.
    """
    lines = _read_lines(path)
    columns = max(MIN_COLUMNS, len(lines[0][1])) if lines else MIN_COLUMNS
    rows: dict[str, tuple[str, ...]] = {}
    column_of: dict[str, int] = {}
    for position, (number, row) in enumerate(lines):
        place = f"{path} line {number}"
        if len(row) != columns:
            as_above = f" as line {lines[0][0]} does" if columns > MIN_COLUMNS else ""
            raise DataError(f"{place}: {len(row)} columns; write file{',tag' * (columns - 1)}{as_above}")
        file = printable_name(row[0].strip().replace("\\", "/")).removeprefix("./")
        if position == 0 and PurePosixPath(file).name not in base_names and not FILE_LIKE.search(file):
            continue
        cells = [printable_name(cell.strip()) for cell in row[1:]]
        if columns > MIN_COLUMNS:
            _check_tags(cells, column_of, place)
        tags = tuple(tag for tag in cells if tag)
        if rows.setdefault(file, tags) != tags:
            here, above = TAG_SEPARATOR.join(tags), TAG_SEPARATOR.join(rows[file])
            raise DataError(f"{place}: {file} is tagged {here} here and {above} above; keep one row")
    return {file: tags for file, tags in rows.items() if tags}


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Read the rows of the CSV that are not blank, with their numbers from 1."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
        return [(number, row) for number, row in enumerate(_parse_csv(text), start=1) if any(map(str.strip, row))]
    except OSError as error:
        raise DataError(
            f"params.yaml: data.labels = {str(path)!r} cannot be read: {error.strerror}; write auto, none or a CSV file"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from None


def _parse_csv(text: str) -> list[list[str]]:
    """Parse rows of cells with the first delimiter that gives all rows the same number of cells.

    A first line `sep=;`, as Excel writes it, sets the delimiter; it becomes a blank row, so line numbers stay right.
    """
    declared = SEPARATOR_LINE.match(text)
    rows: dict[str, list[list[str]]] = {}
    for delimiter in declared[1] if declared else DELIMITERS:
        body = text[declared.end() :] if declared else text
        rows[delimiter] = [[]] * bool(declared) + list(csv.reader(StringIO(body, newline=""), delimiter=delimiter))
        cells = {len(row) for row in rows[delimiter] if any(map(str.strip, row))}
        if len(cells) == 1 and min(cells) >= MIN_COLUMNS:
            return rows[delimiter]
    return next(iter(rows.values()))


def _check_tags(cells: list[str], column_of: dict[str, int], place: str) -> None:
    """Raise DataError for tags whose combination would be ambiguous.

    column_of: the column of every tag so far, updated with this row. A tag in two columns would merge the classes that
    have it in either, and distinguish "red + blue" from "blue + red".
    """
    for column, tag in enumerate(cells, start=MIN_COLUMNS):
        if TAG_SEPARATOR in f" {tag} ":  # also a + at either end: joined, it could be cut in two places
            raise DataError(f"{place}: the tag {tag!r} has a + of its own, which joins tags; write another word")
        if tag and column_of.setdefault(tag, column) != column:
            raise DataError(
                f"{place}: {tag} is a tag in column {column} and in column {column_of[tag]}; "
                "give each column its own tags, or leave a cell empty"
            )


def _match_rows(
    items: Sequence[Item], rows: dict[str, tuple[str, ...]], path: Path
) -> tuple[dict[str, tuple[str, ...]], int]:
    """Assign rows to files. Returns tags by item name, and the number of rows without a file."""
    names = {item.name for item in items}
    tags = {file: tag for file, tag in rows.items() if file in names}
    # A base name alone can only mean a file that no row names by its path.
    files_by_base, rows_by_base = _by_base_name(names - tags.keys()), _by_base_name(rows.keys() - tags.keys())
    unknown = 0
    for base, written in rows_by_base.items():
        files = files_by_base.get(base, [])
        if not files:
            unknown += len(written)
        elif len(files) == len(written) == 1:
            tags[files[0]] = rows[written[0]]
        else:
            raise DataError(
                f"{path}: {' and '.join(written[:2])} could be {' or '.join(files[:2])}; "
                "write paths relative to the source"
            )
    return tags, unknown


def _by_base_name(names: Iterable[str]) -> dict[str, list[str]]:
    """Group the names by base name, sorted."""
    groups = defaultdict(list)
    for name in sorted(names):
        groups[PurePosixPath(name).name].append(name)
    return groups


def labels_from_dataset_json(source: Source) -> Source | None:
    """Label images by the topmost dataset.json; None if there is none, or it is another tool's.

    Labels that are null mean no classes. Raises DataError for a file that is damaged, has labels other than integers,
    or lists none of the images.
    """
    candidates = [entry for entry in source.ignored if PurePosixPath(entry.file).name == DATASET_JSON]
    found = min(candidates, key=lambda entry: len(entry.file), default=None)
    root = found.file.removesuffix(DATASET_JSON) if found else ""
    if found is None or not all(item.name.startswith(root) for item in source.items):
        return None
    content = _read_json(found)
    if not isinstance(content, dict) or "labels" not in content:  # another tool's
        return None
    source = replace(source, ignored=[entry for entry in source.ignored if entry.file != found.file])
    if content["labels"] is None:
        return drop_labels(source)
    numbers = _class_numbers(content["labels"], found.file)
    label_of = {root + name: str(number) for name, number in numbers.items()}
    listed = [item for item in source.items if item.name in label_of]
    if not listed:
        raise DataError(f"{found.file} lists none of the {len(source.items)} pictures; remove it, or make it anew")
    classes = sort_classes({label_of[item.name] for item in listed})
    index = {name: label for label, name in enumerate(classes)}
    unlisted = [IgnoredFile(item.name, UNLISTED_KIND) for item in source.items if item.name not in label_of]
    return replace(
        source,
        items=[replace(item, label=index[label_of[item.name]]) for item in listed],
        classes=classes,
        ignored=[*source.ignored, *unlisted],
    )


def _read_json(entry: IgnoredFile) -> Any:
    """Read and parse a JSON file; None if it cannot be read."""
    try:
        content = entry.read() if entry.read else None
        return json.loads(content) if isinstance(content, bytes) else None
    except UnreadableImageError as error:
        raise DataError(f"{entry.file}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{entry.file} is not JSON: {error}; repair or remove it") from None


def _class_numbers(labels: Any, file: str) -> dict[str, int]:
    """Map files, relative to dataset.json, to class numbers; one-hot vectors count as the index of their 1."""
    invalid = DataError(
        f'{file}: "labels" must be a list of [file, class number]; repair it, or set data.labels: none in params.yaml'
    )
    try:
        pairs = dict(labels)
    except (TypeError, ValueError):
        raise invalid from None
    numbers = {}
    for name, label in pairs.items():
        if isinstance(label, list) and label.count(1) == 1 and label.count(0) == len(label) - 1:
            label = label.index(1)
        if not isinstance(name, str) or type(label) is not int:
            raise invalid
        numbers[printable_name(name.replace("\\", "/")).removeprefix("./")] = label
    return numbers
