"""Which class an image belongs to, by a CSV file of file,tag or file,tag,tag,..."""

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
from training.data.sources.class_folders import drop_labels, in_class_order
from training.data.sources.filenames import printable_name

COLUMNS = 2  # file,tag; there may be more, each for another kind of tag
DELIMITERS = ",\t;"  # the first is the usual one, and the one that errors are told by
SEPARATOR_LINE = re.compile(r"sep=([^\r\n])(?:\r\n?|\n)")
LIKE_A_FILE = re.compile(r"[.\d/]")
JOIN = " + "  # between the tags in the name of a class that combines several
NAME = "dataset.json"
UNLISTED = f"pictures that {NAME} gives no label"


def labels_from_csv(source: Source, path: Path, folder: Path) -> Source:
    """Rows of file,tag become labels; a row names its file by relative path or, where that is clear, by base name.

    With several tag columns, each combination of tags is a class: "aqua hair + red eyes".
    folder: the source's, to leave the CSV and its classes.txt out where they lie among the images. Files without a
    row, and with a tag that classes.txt does not list, are left out and counted. Raises DataError for a file that
    is no such CSV, contradicts itself, or tags nothing in the source.
    """
    names_file = path.with_name("classes.txt")
    known = read_class_names(names_file)
    in_use = {_name_inside(folder, path), _name_inside(folder, names_file) if known is not None else None}
    items = [item for item in source.items if item.name not in in_use]
    rows = _read_rows(path, {PurePosixPath(item.name).name for item in items})
    found, unknown_files = _match(items, rows, path)
    tags = {name: JOIN.join(several) for name, several in found.items()}
    if not tags:
        raise DataError(
            f"{path} tags none of the {len(items)} files in {folder}; write their names in its first column"
        )
    classes = known if known is not None else in_class_order(set(tags.values()))
    index = {name: label for label, name in enumerate(classes)}
    return replace(
        source,
        items=[replace(item, label=index[tags[item.name]]) for item in items if tags.get(item.name) in index],
        classes=classes,
        class_tags={tags[name]: several for name, several in found.items()},
        untagged=sum(item.name not in tags for item in items),
        unknown_tags=dict(sorted(Counter(tag for tag in tags.values() if tag not in index).items())),
        unknown_files=unknown_files,
        left_out=[entry for entry in source.left_out if entry.file not in in_use],
    )


def _name_inside(folder: Path, path: Path) -> str | None:
    """The path relative to the folder, or None where it lies elsewhere."""
    try:
        return printable_name(path.resolve().relative_to(folder.resolve()).as_posix())
    except ValueError:
        return None


def _read_rows(path: Path, base_names: set[str]) -> dict[str, tuple[str, ...]]:
    """Tags by file, as written, in the order of the columns and without empty ones; a file has at least one.

    A first row is a header where it names no file of the source and looks like none: no dot, digit or folder.
    """
    lines = _read_lines(path)
    columns = max(COLUMNS, len(lines[0][1])) if lines else COLUMNS
    rows: dict[str, tuple[str, ...]] = {}
    column_of: dict[str, int] = {}
    for position, (number, row) in enumerate(lines):
        place = f"{path} line {number}"
        if len(row) != columns:
            as_above = f" as line {lines[0][0]} does" if columns > COLUMNS else ""
            raise DataError(f"{place}: {len(row)} columns; write file{',tag' * (columns - 1)}{as_above}")
        file = printable_name(row[0].strip().replace("\\", "/")).removeprefix("./")
        if position == 0 and PurePosixPath(file).name not in base_names and not LIKE_A_FILE.search(file):
            continue
        cells = [printable_name(cell.strip()) for cell in row[1:]]
        if columns > COLUMNS:
            _refuse_ambiguous(cells, column_of, place)
        tags = tuple(tag for tag in cells if tag)
        if rows.setdefault(file, tags) != tags:
            here, above = JOIN.join(tags), JOIN.join(rows[file])
            raise DataError(f"{place}: {file} is tagged {here} here and {above} above; keep one row")
    return {file: tags for file, tags in rows.items() if tags}


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of the CSV that are not blank, with their numbers from 1."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
        return [(number, row) for number, row in enumerate(_split(text), start=1) if any(map(str.strip, row))]
    except OSError as error:
        raise DataError(
            f"params.yaml: data.labels = {str(path)!r} cannot be read: {error.strerror}; write auto, none or a CSV file"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from None


def _split(text: str) -> list[list[str]]:
    """Rows of cells, by the first of the usual delimiters that gives all rows the same number of cells.

    A first line `sep=;`, as Excel writes it, says which; it becomes a blank row, so that line numbers stay right.
    """
    named = SEPARATOR_LINE.match(text)
    rows: dict[str, list[list[str]]] = {}
    for delimiter in named[1] if named else DELIMITERS:
        body = text[named.end() :] if named else text
        rows[delimiter] = [[]] * bool(named) + list(csv.reader(StringIO(body, newline=""), delimiter=delimiter))
        cells = {len(row) for row in rows[delimiter] if any(map(str.strip, row))}
        if len(cells) == 1 and min(cells) >= COLUMNS:
            return rows[delimiter]
    return next(iter(rows.values()))


def _refuse_ambiguous(cells: list[str], column_of: dict[str, int], place: str) -> None:
    """Raises DataError for tags whose combination could be mistaken for another one.

    column_of: the column of every tag up to here, to which this row's are added. A tag of two columns would make one
    class of those that have it in either, and no difference between "red + blue" and "blue + red".
    """
    for column, tag in enumerate(cells, start=COLUMNS):
        if JOIN in f" {tag} ":  # also a + at either end: joined, it could be cut in two places
            raise DataError(f"{place}: the tag {tag!r} has a + of its own, which joins tags; write another word")
        if tag and column_of.setdefault(tag, column) != column:
            raise DataError(
                f"{place}: {tag} is a tag in column {column} and in column {column_of[tag]}; "
                "give each column its own tags, or leave a cell empty"
            )


def _match(
    items: Sequence[Item], rows: dict[str, tuple[str, ...]], path: Path
) -> tuple[dict[str, tuple[str, ...]], int]:
    """Tags by item name, and the number of rows that no file answers to."""
    names = {item.name for item in items}
    tags = {file: tag for file, tag in rows.items() if file in names}
    # Only files that no row spells out can be meant by a base name alone.
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
    """The names sorted and grouped by their last part."""
    groups = defaultdict(list)
    for name in sorted(names):
        groups[PurePosixPath(name).name].append(name)
    return groups


def labels_from_dataset_json(source: Source) -> Source | None:
    """The pictures with the labels of the dataset.json above them all; None where there is no such table.

    Labels that are null mean no classes. Raises DataError for a table that is damaged, holds other labels than
    numbers, or names none of the pictures.
    """
    tables = [entry for entry in source.left_out if PurePosixPath(entry.file).name == NAME]
    found = min(tables, key=lambda entry: len(entry.file), default=None)
    root = found.file.removesuffix(NAME) if found else ""
    if found is None or not all(item.name.startswith(root) for item in source.items):
        return None
    content = _read(found)
    if not isinstance(content, dict) or "labels" not in content:  # another tool's
        return None
    source = replace(source, left_out=[entry for entry in source.left_out if entry.file != found.file])
    if content["labels"] is None:
        return drop_labels(source)
    numbers = _numbers(content["labels"], found.file)
    label_of = {root + name: str(number) for name, number in numbers.items()}
    listed = [item for item in source.items if item.name in label_of]
    if not listed:
        raise DataError(f"{found.file} lists none of the {len(source.items)} pictures; remove it, or make it anew")
    classes = in_class_order({label_of[item.name] for item in listed})
    index = {name: label for label, name in enumerate(classes)}
    unlisted = [IgnoredFile(item.name, UNLISTED) for item in source.items if item.name not in label_of]
    return replace(
        source,
        items=[replace(item, label=index[label_of[item.name]]) for item in listed],
        classes=classes,
        left_out=[*source.left_out, *unlisted],
    )


def _read(table: IgnoredFile) -> Any:
    """What the table holds; None where it cannot be asked."""
    try:
        content = table.read() if table.read else None
        return json.loads(content) if isinstance(content, bytes) else None
    except UnreadableImageError as error:
        raise DataError(f"{table.file}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{table.file} is not JSON: {error}; repair or remove it") from None


def _numbers(labels: Any, origin: str) -> dict[str, int]:
    """Class numbers by file, relative to the table; a one-hot vector is the number of its one."""
    wrong = DataError(
        f'{origin}: "labels" must be a list of [file, class number]; repair it, or set data.labels: none in params.yaml'
    )
    try:
        pairs = dict(labels)
    except (TypeError, ValueError):
        raise wrong from None
    numbers = {}
    for name, label in pairs.items():
        if isinstance(label, list) and label.count(1) == 1 and label.count(0) == len(label) - 1:
            label = label.index(1)
        if not isinstance(name, str) or type(label) is not int:
            raise wrong
        numbers[printable_name(name.replace("\\", "/")).removeprefix("./")] = label
    return numbers
