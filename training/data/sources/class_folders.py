"""Which folders are classes: those below what only wraps, splits or shards the pictures."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import PurePosixPath

from training.data.manifest import DataError
from training.data.sources.base import IgnoredFile, Source

IN_NO_CLASS = "pictures in no class folder"

_FILLER = r"(?:sets?|data|datasets?|images?|imgs?|img|pictures|photos|pics|files|frames|splits?|seg|\d+|[ _.-])*"
_SPLIT = re.compile(
    rf"{_FILLER}(train|training|val|valid|validation|validate|test|testing|dev|eval|evaluation){_FILLER}"
)
_SHARD = re.compile(r"\d{5,}")
_NUMBERED_FILE = re.compile(r"[A-Za-z_-]*(\d+)")  # img00000123, 00123; not 00001_00029, which counts within something
_SHARD_STEP = 1000  # FFHQ names a shard by its first picture: 00000, 01000, 02000

Folders = dict[str, tuple[str, ...]]  # by file: the folders that it lies in, from the outside in


def drop_labels(source: Source) -> Source:
    """The same images as one unnamed class."""
    return replace(source, items=[replace(item, label=None) for item in source.items], classes=[], class_tags={})


def labels_from_folders(source: Source) -> Source:
    """The pictures with the classes that their folders name, or without labels where the folders name none.

    Where there are classes, a picture outside of them is left out: to train on it under some class would be wrong.
    Raises DataError where most pictures are outside, because then the folders mean something else.
    """
    class_of = classes_by_folder(item.name for item in source.items)
    classes = in_class_order(set(class_of.values()))
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
        left_out=[*source.left_out, *(IgnoredFile(name, IN_NO_CLASS) for name in strays)],
    )


def classes_by_folder(names: Iterable[str]) -> dict[str, str]:
    """The class of each picture that has one, by its relative name; empty where the folders are no classes."""
    folders: Folders = {name: PurePosixPath(name).parts[:-1] for name in names}
    while True:
        members = _members(folders)
        if not members or _are_shards(members):
            return {}
        if len(members) > 1 and not _are_splits(members):
            return {name: parts[0] for name, parts in folders.items() if parts}
        # Seen through: one folder around all, or splits, beside which any other folder holds strays.
        splits = {folder for folder in members if len(members) == 1 or _split_of(folder)}
        folders = {name: parts[1:] if parts[:1] and parts[0] in splits else () for name, parts in folders.items()}


def in_class_order(names: Iterable[str]) -> list[str]:
    """Class names sorted: by value where all are numbers, so that 2 comes before 10; else by letter."""
    known = list(names)
    numbers = all(name.isascii() and name.isdigit() for name in known)
    return sorted(known, key=lambda name: (int(name), name)) if numbers else sorted(known)


def _members(folders: Folders) -> dict[str, list[str]]:
    """The files of each outermost folder."""
    members = defaultdict(list)
    for name, parts in folders.items():
        if parts:
            members[parts[0]].append(name)
    return members


def _split_of(folder: str) -> str | None:
    """What a folder is called that holds a part of the data for training or for testing: `train`; else None."""
    match = _SPLIT.fullmatch(folder.casefold())
    return match and match[1]


def _are_splits(members: Iterable[str]) -> bool:
    """Whether folders split the data: all are called so, or two differently; `train` beside `bus` is a vehicle."""
    splits = [_split_of(folder) for folder in members]
    return None not in splits or len(set(splits) - {None}) > 1


def _are_shards(members: dict[str, list[str]]) -> bool:
    """Whether numbered folders cut one numbered sequence into pieces, as StyleGAN's tools and FFHQ do.

    Classes can be called 00000 and 00001, too (traffic signs are); but there the files' numbers begin anew.
    """
    shards = sorted(members)
    if len(shards) < 2 or not all(_SHARD.fullmatch(shard) for shard in shards):
        return False
    if shards[0].startswith("0") and all(int(shard) % _SHARD_STEP == 0 for shard in shards):
        return True
    numbers = [[_NUMBERED_FILE.fullmatch(PurePosixPath(name).stem) for name in members[shard]] for shard in shards]
    if not all(all(found) for found in numbers):
        return False
    values = [[int(number[1]) for number in found if number] for found in numbers]
    return all(max(one) < min(following) for one, following in pairwise(values))
