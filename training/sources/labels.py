"""Which class an image belongs to: by its folder, or by a CSV file of file,tag."""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path, PurePosixPath

from training.manifest import DataError, Skipped
from training.sources.arrays import read_class_names
from training.sources.items import Item, Source, printable_name

COLUMNS = 2  # file,tag
IMAGE_SUFFIXES = {
    ".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip


def without_labels(source: Source) -> Source:
    """The same images as one unnamed class."""
    return replace(source, items=[replace(item, label=None) for item in source.items], classes=[])


def labels_from_folders(source: Source) -> Source:
    """Sub-folders become classes; folders that wrap everything are seen through.

    The names of the pictures decide, so that a README beside the class folders changes nothing. Where there are
    classes, a picture outside of them is rejected: to train on it under some class would be wrong.
    """
    pictures = [item.name for item in source.items if _is_picture(item.name)] or [item.name for item in source.items]
    levels = zip(*(PurePosixPath(name).parts[:-1] for name in pictures), strict=False)
    depth = len(list(takewhile(lambda level: len(set(level)) == 1, levels)))
    classes = sorted({name for name in (_folder(picture, depth) for picture in pictures) if name is not None})
    if not classes:
        return without_labels(source)
    index = {name: label for label, name in enumerate(classes)}
    items, rejected = [], list(source.rejected)
    for item in source.items:
        label = index.get(_folder(item.name, depth) or "")
        if label is not None:
            items.append(replace(item, label=label))
        else:
            reason = "in no class folder (or set data.labels: none)" if _is_picture(item.name) else "not an image"
            rejected.append(Skipped(file=item.name, reason=reason))
    return replace(source, items=items, classes=classes, rejected=rejected)


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _folder(name: str, depth: int) -> str | None:
    """The folder of a file below `depth` wrapping ones; None for a file that lies in no further folder."""
    parts = PurePosixPath(name).parts
    return parts[depth] if len(parts) > depth + 1 else None


def labels_from_csv(source: Source, path: Path, folder: Path) -> Source:
    """Rows of file,tag become labels; a row names its file by relative path or, where that is clear, by base name.

    folder: the source's, to leave the CSV and its classes.txt out where they lie among the images. Files without a
    row, and with a tag that classes.txt does not list, are left out and counted. Raises DataError for a file that
    is no such CSV, contradicts itself, or tags nothing in the source.
    """
    names_file = path.with_name("classes.txt")
    known = read_class_names(names_file)
    in_use = {_name_inside(folder, path), _name_inside(folder, names_file) if known is not None else None}
    items = [item for item in source.items if item.name not in in_use]
    rows = _read_rows(path, {PurePosixPath(item.name).name for item in items})
    tags, unknown_files = _match(items, rows, path)
    if not tags:
        raise DataError(
            f"{path} tags none of the {len(items)} files in {folder}; write their names in its first column"
        )
    classes = known if known is not None else sorted(set(tags.values()))
    index = {name: label for label, name in enumerate(classes)}
    return replace(
        source,
        items=[replace(item, label=index[tags[item.name]]) for item in items if tags.get(item.name) in index],
        classes=classes,
        untagged=sum(item.name not in tags for item in items),
        unknown_tags=dict(sorted(Counter(tag for tag in tags.values() if tag not in index).items())),
        unknown_files=unknown_files,
    )


def _name_inside(folder: Path, path: Path) -> str | None:
    """The path relative to the folder, or None where it lies elsewhere."""
    try:
        return printable_name(path.resolve().relative_to(folder.resolve()).as_posix())
    except ValueError:
        return None


def _read_rows(path: Path, base_names: set[str]) -> dict[str, str]:
    """Tags by file, as written. A first row that names no file and has no dot where a suffix would be is a header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            lines = [(number, row) for number, row in enumerate(csv.reader(text), start=1) if row]
    except OSError as error:
        raise DataError(
            f"params.yaml: data.labels = {str(path)!r} cannot be read: {error.strerror}; write auto, none or a CSV file"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from None
    rows: dict[str, str] = {}
    for position, (number, row) in enumerate(lines):
        if len(row) != COLUMNS:
            raise DataError(f"{path} line {number}: {len(row)} columns; write file,tag")
        file = printable_name(row[0].strip().replace("\\", "/")).removeprefix("./")
        tag = printable_name(row[1].strip())
        if position == 0 and "." not in file and file not in base_names:
            continue
        if rows.setdefault(file, tag) != tag:
            raise DataError(f"{path} line {number}: {file} is tagged {tag} here and {rows[file]} above; keep one row")
    return {file: tag for file, tag in rows.items() if tag}


def _match(items: Sequence[Item], rows: dict[str, str], path: Path) -> tuple[dict[str, str], int]:
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
