"""Class labels from folder names, below wrapper folders, train/test splits and numbered shards."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import PurePosixPath

from training.data.manifest import DataError
from training.data.sources.base import IgnoredFile, Source

STRAY_KIND = "pictures in no class folder"

_FILLER = r"(?:sets?|data|datasets?|images?|imgs?|img|pictures|photos|pics|files|frames|splits?|seg|\d+|[ _.-])*"
_SPLIT = re.compile(
    rf"{_FILLER}(train|training|val|valid|validation|validate|test|testing|dev|eval|evaluation){_FILLER}"
)
_SHARD = re.compile(r"\d{5,}")
_NUMBERED_FILE = re.compile(r"[A-Za-z_-]*(\d+)")  # img00000123, 00123; not 00001_00029, a number within a group
_SHARD_STEP = 1000  # FFHQ names a shard by its first image: 00000, 01000, 02000

FoldersByFile = dict[str, tuple[str, ...]]  # the folders around each file, outermost first


def drop_labels(source: Source) -> Source:
    """Return the source without labels and classes."""
    return replace(source, items=[replace(item, label=None) for item in source.items], classes=[], class_tags={})


def labels_from_folders(source: Source) -> Source:
    """Label images by their class folder; return them unlabelled when no folder is a class.

    Images outside the class folders are ignored. Raises DataError when they are the majority, because the folders then
    are probably not classes.
    """
    class_of = classes_by_folder(item.name for item in source.items)
    classes = sort_classes(set(class_of.values()))
    if not classes:
        return drop_labels(source)
    index = {name: label for label, name in enumerate(classes)}
    items = [replace(item, label=index[class_of[item.name]]) for item in source.items if item.name in class_of]
    strays = [item.name for item in source.items if item.name not in class_of]
    if len(strays) > len(items):
        raise DataError(
            f"{len(strays)} of {len(source.items)} pictures lie in no class folder ({min(strays)}), beside the classes "
            f"{', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''}; "
            "move them into class folders, or set data.labels: none in params.yaml to train on all without classes"
        )
    return replace(
        source,
        items=items,
        classes=classes,
        ignored=[*source.ignored, *(IgnoredFile(name, STRAY_KIND) for name in strays)],
    )


def classes_by_folder(names: Iterable[str]) -> dict[str, str]:
    """Map relative names of images to classes; empty when the folders are not classes."""
    folders: FoldersByFile = {name: PurePosixPath(name).parts[:-1] for name in names}
    while True:
        files_in = _files_by_folder(folders)
        if not files_in or _are_shards(files_in):
            return {}
        if len(files_in) > 1 and not _are_dataset_splits(files_in):
            return {name: parts[0] for name, parts in folders.items() if parts}
        # Strip a single wrapper folder, or the splits; files in other folders beside splits are strays.
        wrappers = {folder for folder in files_in if len(files_in) == 1 or _split_name(folder)}
        folders = {name: parts[1:] if parts[:1] and parts[0] in wrappers else () for name, parts in folders.items()}


def sort_classes(names: Iterable[str]) -> list[str]:
    """Sort class names: numerically if all are numbers, so that 2 comes before 10, else alphabetically."""
    known = list(names)
    numbers = all(name.isascii() and name.isdigit() for name in known)
    return sorted(known, key=lambda name: (int(name), name)) if numbers else sorted(known)


def _files_by_folder(folders: FoldersByFile) -> dict[str, list[str]]:
    """Group files by their outermost folder."""
    files_in = defaultdict(list)
    for name, parts in folders.items():
        if parts:
            files_in[parts[0]].append(name)
    return files_in


def _split_name(folder: str) -> str | None:
    """Return the split that a folder name stands for, such as `train` for `train_images`; None for other names."""
    match = _SPLIT.fullmatch(folder.casefold())
    return match and match[1]


def _are_dataset_splits(folders: Iterable[str]) -> bool:
    """Return whether all folders, or two different ones, are splits; `train` beside `bus` is a vehicle."""
    splits = [_split_name(folder) for folder in folders]
    return None not in splits or len(set(splits) - {None}) > 1


def _are_shards(files_in: dict[str, list[str]]) -> bool:
    """Return whether numbered folders are shards of one numbered sequence, as StyleGAN's tools and FFHQ write them.

    Classes can be named 00000 and 00001 too, as in traffic sign data, but their file numbers start over.
    """
    shards = sorted(files_in)
    if len(shards) < 2 or not all(_SHARD.fullmatch(shard) for shard in shards):
        return False
    if shards[0].startswith("0") and all(int(shard) % _SHARD_STEP == 0 for shard in shards):
        return True
    numbers = [[_NUMBERED_FILE.fullmatch(PurePosixPath(name).stem) for name in files_in[shard]] for shard in shards]
    if not all(all(found) for found in numbers):
        return False
    values = [[int(number[1]) for number in found if number] for found in numbers]
    return all(max(one) < min(following) for one, following in pairwise(values))
