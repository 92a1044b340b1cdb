"""dataset.json: the labels that StyleGAN's dataset tool writes beside its numbered pictures.

{"labels": [["00000/img00000000.png", 6], ["00000/img00000001.png", 9], ...]}
"""

import json
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from training.data.manifest import DataError
from training.data.sources.class_folders import in_class_order, without_labels
from training.data.sources.items import LeftOut, Source, UnreadableImageError, printable_name

NAME = "dataset.json"
UNLISTED = f"pictures that {NAME} gives no label"


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
        return without_labels(source)
    numbers = _numbers(content["labels"], found.file)
    label_of = {root + name: str(number) for name, number in numbers.items()}
    listed = [item for item in source.items if item.name in label_of]
    if not listed:
        raise DataError(f"{found.file} lists none of the {len(source.items)} pictures; remove it, or make it anew")
    classes = in_class_order({label_of[item.name] for item in listed})
    index = {name: label for label, name in enumerate(classes)}
    unlisted = [LeftOut(item.name, UNLISTED) for item in source.items if item.name not in label_of]
    return replace(
        source,
        items=[replace(item, label=index[label_of[item.name]]) for item in listed],
        classes=classes,
        left_out=[*source.left_out, *unlisted],
    )


def _read(table: LeftOut) -> Any:
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
