"""What data.source may be: a folder, an archive, IDX files, an .npz, a torchvision data set -> labelled items."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from training import paths
from training.data.manifest import DataError
from training.data.sources.arrays import idx_files, idx_source, npz_source
from training.data.sources.base import Item, Source, UnreadableImageError
from training.data.sources.class_folders import drop_labels, labels_from_folders
from training.data.sources.decompression import Budget
from training.data.sources.file_types import foreign_kind, no_source, only_pictures
from training.data.sources.folders import folder_source
from training.data.sources.label_files import labels_from_csv, labels_from_dataset_json
from training.data.sources.tars import is_called_tar, is_tar, tar_source
from training.data.sources.torchvision_datasets import DATASETS, PREFIX, dataset_name, dataset_source
from training.data.sources.zips import is_zip, opened_zip, zip_source
from training.param_sections import DataParams

__all__ = ["Item", "Source", "UnreadableImageError", "labels_path", "open_source", "source_path"]

VIRTUAL = {("/", "proc"), ("/", "sys")}  # folders without end, and files that wait for ever


def source_path(source: str) -> Path | None:
    """Where the source lies; None for a torchvision data set. Raises DataError where there is neither."""
    if source.startswith(PREFIX):
        dataset_name(source)
        return None
    path = paths.expand_user_path(source)
    if path.exists():
        if path.resolve().parts[:2] in VIRTUAL:
            raise DataError(
                f"params.yaml: data.source = {source!r} is the system's own, not files; name another folder"
            )
        return path
    siblings = [str(sibling) for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    nearest = get_close_matches(source, siblings + [PREFIX + name for name in DATASETS], n=1, cutoff=0.7)
    hint = f"did you mean {nearest[0]}?" if nearest else "write the path of a folder or an archive of images"
    raise DataError(f"params.yaml: data.source = {source!r} does not exist; {hint}")


def labels_path(labels: str) -> Path:
    """The CSV that data.labels names, whether it exists or not. Raises DataError for what would never end: a pipe."""
    path = paths.expand_user_path(labels)
    for file in (path, path.with_name("classes.txt")):
        if file.exists() and not file.is_file():
            raise DataError(f"params.yaml: data.labels = {labels!r}: {file} is no file; write auto, none or a CSV file")
    return path


@contextmanager
def open_source(data: DataParams) -> Iterator[Source]:
    """The items of data.source with the labels that data.labels asks for, sorted by name.

    They can be read until the context ends, from any thread. Raises DataError for a source that is missing, damaged,
    or something else, and for labels that do not fit it.
    """
    with ExitStack() as stack:
        found = _find(data.source, stack)
        if data.labels == "none":
            labelled = drop_labels(found)
        elif data.labels != "auto":
            labelled = labels_from_csv(found, labels_path(data.labels), paths.expand_user_path(data.source))
        elif found.classes:
            labelled = found
        else:
            labelled = labels_from_dataset_json(found) or labels_from_folders(found)
        yield replace(labelled, items=sorted(labelled.items, key=lambda item: item.name))


def _find(source: str, stack: ExitStack) -> Source:
    """The source by its kind, with the labels that it carries itself."""
    path = source_path(source)
    if path is None:
        return dataset_source(source, paths.TORCHVISION)
    scratch = stack.enter_context(_scratch_folder())
    if path.is_dir():
        return idx_source(path, scratch) if idx_files(path) else only_pictures(folder_source(path))
    if not path.is_file():
        raise DataError(f"params.yaml: data.source = {source!r} is neither a folder nor a file")
    try:
        return _file_source(path, scratch, stack)
    except PermissionError as error:
        raise DataError(f"params.yaml: data.source = {source!r} cannot be read: {error.strerror}") from None


def _file_source(path: Path, scratch: Path, stack: ExitStack) -> Source:
    """The source in one file. Raises DataError for a file of another kind."""
    budget = Budget(path, path.stat().st_size, scratch)
    if is_zip(path):
        archive = stack.enter_context(opened_zip(path, budget))
        arrays = path.suffix.lower() == ".npz" or any(member.name == "images.npy" for member in archive.members)
        return npz_source(archive, scratch, budget) if arrays else only_pictures(zip_source(archive))
    begins_as_tar = is_tar(path)
    foreign = None if begins_as_tar else foreign_kind(path)
    if begins_as_tar or (foreign is None and is_called_tar(path)):  # by its name: to be told what is wrong with it
        return only_pictures(tar_source(path, scratch, budget))
    raise DataError(f"params.yaml: data.source = {str(path)!r} is {foreign or no_source(path)}")


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """An empty folder for what must be unpacked. On the disk of the runs, because /tmp is often held in memory."""
    shutil.rmtree(paths.UNPACKED, ignore_errors=True)  # what a killed run left
    paths.UNPACKED.mkdir(parents=True)
    try:
        yield paths.UNPACKED
    finally:
        shutil.rmtree(paths.UNPACKED, ignore_errors=True)
