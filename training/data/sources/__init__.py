"""Data sources: a folder, an archive, IDX files, an .npz or a torchvision data set, opened as labelled items."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from serving.error_messages import did_you_mean
from training import paths
from training.data.manifest import DataError
from training.data.sources.arrays import find_idx_files, idx_source, npz_source
from training.data.sources.base import Item, Source, UnreadableImageError
from training.data.sources.class_folders import drop_labels, labels_from_folders
from training.data.sources.decompression import UnpackQuota
from training.data.sources.file_types import explain_not_a_source, keep_images, unsupported_source_type
from training.data.sources.folders import folder_source
from training.data.sources.label_files import labels_from_csv, labels_from_dataset_json
from training.data.sources.tars import has_tar_suffix, is_tar, tar_source
from training.data.sources.torchvision_datasets import DATASETS, PREFIX, dataset_name, dataset_source
from training.data.sources.zips import is_zip, open_zip, zip_source
from training.param_sections import DataParams

__all__ = ["Item", "Source", "UnreadableImageError", "labels_path", "open_source", "source_path"]

VIRTUAL_FILESYSTEMS = {("/", "proc"), ("/", "sys")}  # endless folders, and files whose read never returns


def source_path(source: str) -> Path | None:
    """Resolve data.source to a path; None for a torchvision data set. Raises DataError if it does not exist."""
    if source.startswith(PREFIX):
        dataset_name(source)
        return None
    path = paths.expand_user_path(source)
    if path.exists():
        if path.resolve().parts[:2] in VIRTUAL_FILESYSTEMS:
            raise DataError(
                f"params.yaml: data.source = {source!r} is the system's own, not files; name another folder"
            )
        return path
    siblings = [str(sibling) for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    known = siblings + [PREFIX + name for name in DATASETS]
    hint = did_you_mean(source, known, otherwise="write the path of a folder or an archive of images", cutoff=0.7)
    raise DataError(f"params.yaml: data.source = {source!r} does not exist; {hint}")


def labels_path(labels: str) -> Path:
    """Resolve data.labels to the path of a CSV, existing or not. Raises DataError for a pipe or a device."""
    path = paths.expand_user_path(labels)
    for file in (path, path.with_name("classes.txt")):
        if file.exists() and not file.is_file():
            raise DataError(f"params.yaml: data.labels = {labels!r}: {file} is no file; write auto, none or a CSV file")
    return path


@contextmanager
def open_source(data: DataParams) -> Iterator[Source]:
    """Open data.source, labelled as data.labels says, with its items sorted by name.

    Items can be read from any thread until the context ends. Raises DataError for a source that is missing, damaged or
    of an unsupported type, and for labels that do not fit it.
    """
    with ExitStack() as stack:
        found = _open_by_type(data.source, stack)
        if data.labels == "none":
            labelled = drop_labels(found)
        elif data.labels != "auto":
            labelled = labels_from_csv(found, labels_path(data.labels), paths.expand_user_path(data.source))
        elif found.classes:
            labelled = found
        else:
            labelled = labels_from_dataset_json(found) or labels_from_folders(found)
        yield replace(labelled, items=sorted(labelled.items, key=lambda item: item.name))


def _open_by_type(source: str, stack: ExitStack) -> Source:
    """Open the source with the reader for its type; labelled if the format holds labels."""
    path = source_path(source)
    if path is None:
        return dataset_source(source, paths.TORCHVISION)
    scratch = stack.enter_context(_scratch_folder())
    if path.is_dir():
        return idx_source(path, scratch) if find_idx_files(path) else keep_images(folder_source(path))
    if not path.is_file():
        raise DataError(f"params.yaml: data.source = {source!r} is neither a folder nor a file")
    try:
        return _open_file(path, scratch, stack)
    except PermissionError as error:
        raise DataError(f"params.yaml: data.source = {source!r} cannot be read: {error.strerror}") from None


def _open_file(path: Path, scratch: Path, stack: ExitStack) -> Source:
    """Open a source that is one file. Raises DataError for an unsupported type."""
    quota = UnpackQuota(path, path.stat().st_size, scratch)
    if is_zip(path):
        archive = stack.enter_context(open_zip(path, quota))
        arrays = path.suffix.lower() == ".npz" or any(member.name == "images.npy" for member in archive.members)
        return npz_source(archive, scratch, quota) if arrays else keep_images(zip_source(archive))
    starts_as_tar = is_tar(path)
    unsupported = None if starts_as_tar else unsupported_source_type(path)
    if starts_as_tar or (unsupported is None and has_tar_suffix(path)):  # the tar reader reports the damage
        return keep_images(tar_source(path, scratch, quota))
    raise DataError(f"params.yaml: data.source = {str(path)!r} is {unsupported or explain_not_a_source(path)}")


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """Make an empty folder for unpacked files, beside the runs because /tmp is often held in memory."""
    shutil.rmtree(paths.UNPACKED, ignore_errors=True)  # left by a killed run
    paths.UNPACKED.mkdir(parents=True)
    try:
        yield paths.UNPACKED
    finally:
        shutil.rmtree(paths.UNPACKED, ignore_errors=True)
