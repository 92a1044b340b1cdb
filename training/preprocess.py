"""Stage 1: the images of data.source become data/prepared: equal squares, their labels, and a manifest.

    python -m training.preprocess

Runs at every `dvc repro` and stops at once when source, parameters and code are what they were.
"""

import os
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.files import atomic_write
from training import paths
from training.data.cache import cached_manifest, current_inputs, write_cache_record
from training.data.decode import load_square_image
from training.data.manifest import Counts, DataError, IgnoredFiles, Manifest, SkippedFile, data_sha256
from training.data.npy import NpyWriter
from training.data.provenance import provenance
from training.data.sources import Item, Source, UnreadableImageError, open_source
from training.data.sources.base import IgnoredFile, Pixels
from training.data.subset import stratified_subset
from training.data.summary import listed_kinds, summary
from training.lock import exclusive_lock
from training.param_sections import DataParams
from training.params import load_params
from training.progress import track
from training.stage import run_stage

TASKS_PER_CORE = 8  # images in flight: enough to keep every core busy, few enough to bound the memory
SHOWN = 3  # files of one kind that an error or the manifest names

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Prepared:
    """An item that became an image."""

    item: Item
    pixels: Pixels  # [R, R, C]
    content_sha256: bytes
    enlarged: bool


def main() -> None:
    """Prepares the data that params.yaml describes, unless it is prepared already.

    Raises MintError while another process does.
    """
    data = load_params().data
    with exclusive_lock(paths.PREPARED_LOCK, f"preparing {paths.PREPARED}"):
        bring_up_to_date(data)


def bring_up_to_date(data: DataParams) -> None:
    """Prepares the data unless it is prepared already. For one process at a time."""
    started = time.monotonic()
    inputs = current_inputs(data)
    for leftover in paths.PREPARED.glob(".*.part"):  # of a run that was killed; DVC would track it
        leftover.unlink()
    manifest = cached_manifest(inputs)
    if manifest is not None:
        print(f"{paths.PREPARED} is up to date: {manifest.shape}")
        return
    with open_source(data) as source:
        manifest = prepare(source, data)
    write_cache_record(inputs)
    print(f"prepared {paths.PREPARED}  {manifest.shape}  {time.monotonic() - started:.1f} s")
    print(*summary(manifest), sep="\n")


def prepare(source: Source, data: DataParams) -> Manifest:
    """Writes images.npy, labels.npy and manifest.json, all three or none.

    Raises DataError when no image is left, or more files than data.max_skipped had to be skipped.
    """
    chosen = stratified_subset(source.items, data.limit)
    with ExitStack() as stack:  # closes in reverse order: the manifest, which vouches for the rest, comes last
        manifest_path, labels_path, images_path = (
            stack.enter_context(atomic_write(path)) for path in (paths.MANIFEST, paths.LABELS, paths.IMAGES)
        )
        labels, source_sha256, skipped, enlarged = write_images(chosen, data, images_path)
        skipped = sorted([*source.rejected, *skipped], key=lambda skip: skip.file)
        counts = _counts(source, chosen, skipped, enlarged)
        left_out = _by_kind(source.left_out)
        _refuse_too_many(counts, skipped, left_out, data)
        label_array, classes, empty = without_empty_classes(labels, source.classes)
        with labels_path.open("wb") as file:
            np.save(file, label_array)
        manifest = Manifest(
            **asdict(provenance(data.source)),
            images=len(labels),
            resolution=data.resolution,
            channels=data.channels,
            classes=classes,
            class_tags=tuple(source.class_tags.get(name, (name,)) for name in classes),
            images_per_class=dict(zip(classes, np.bincount(label_array).tolist(), strict=False)),
            empty_classes=empty,
            data_sha256=data_sha256(images_path, labels_path),
            source_sha256=source_sha256,
            counts=counts,
            skipped=tuple(skipped),
            left_out=left_out,
        )
        manifest_path.write_text(manifest.model_dump_json(indent=2) + "\n")
        paths.MANIFEST.unlink(missing_ok=True)  # it must not vouch for arrays that are about to be replaced
    return manifest


def write_images(items: list[Item], data: DataParams, path: Path) -> tuple[list[int], str, list[SkippedFile], int]:
    """Writes one row for each item that can be read, in order.

    Returns the labels of the rows (0 where there are none), the hash of what was read, what was skipped, and how many
    pictures were smaller than the resolution.
    """
    labels: list[int] = []
    enlarged = 0
    skipped: list[SkippedFile] = []
    read = sha256()
    with NpyWriter(path, (data.resolution, data.resolution, data.channels)) as rows:
        results = parallel_map(lambda item: decode_item(item, data), items)
        for result in track(results, len(items), "preparing images"):
            if isinstance(result, SkippedFile):
                skipped.append(result)
                continue
            rows.append(result.pixels)
            labels.append(result.item.label or 0)
            enlarged += result.enlarged
            read.update(result.item.name.encode() + b"\0" + result.content_sha256)
    return labels, read.hexdigest(), skipped, enlarged


def decode_item(item: Item, data: DataParams) -> Prepared | SkippedFile:
    """One item's image, or why there is none."""
    try:
        content = item.read()
        picture = load_square_image(content, data)
        digest = sha256(content if isinstance(content, bytes) else content.data).digest()
        return Prepared(item, picture.pixels, digest, picture.enlarged)
    except UnreadableImageError as error:
        return SkippedFile(file=item.name, reason=str(error))


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Does the work on all cores and yields its results in the items' order, a bounded number of them ahead.

    Threads suffice, because Pillow releases the interpreter's lock while it works: 1.8 times as fast on two cores for
    images from 256 pixels up. Smaller ones gain nothing, but take under a millisecond each.
    """
    cores = len(os.sched_getaffinity(0))
    running: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(cores)
    try:
        for item in items:
            if len(running) == cores * TASKS_PER_CORE:
                yield running.popleft().result()
            running.append(pool.submit(work, item))
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def without_empty_classes(
    labels: list[int], classes: list[str]
) -> tuple[NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
    """Labels and names of the classes that have images, renumbered without gaps, and the names of those without.

    A class that is never shown would still be offered by the service, and answered with noise.
    """
    if not classes:
        return np.array(labels, np.int64), (), ()
    used, renumbered = np.unique(np.array(labels, np.int64), return_inverse=True)
    empty = [name for label, name in enumerate(classes) if label not in set(used.tolist())]
    return renumbered.astype(np.int64), tuple(classes[label] for label in used), tuple(empty)


def _by_kind(left_out: list[IgnoredFile]) -> tuple[IgnoredFiles, ...]:
    """What was left out, counted by kind, the most frequent first, with a few names of each."""
    names = defaultdict(list)
    for entry in sorted(left_out):
        names[entry.kind].append(entry.file)
    kinds = sorted(names, key=lambda kind: (-len(names[kind]), kind))
    return tuple(IgnoredFiles(kind=kind, files=len(names[kind]), examples=tuple(names[kind][:SHOWN])) for kind in kinds)


def _counts(source: Source, chosen: list[Item], skipped: list[SkippedFile], enlarged: int) -> Counts:
    """Where the files went. Rejected files are candidates too: someone meant them to be images."""
    left_out = source.untagged + sum(source.unknown_tags.values())
    return Counts(
        files=len(source.items) + len(source.rejected) + left_out,
        untagged=source.untagged,
        unknown_tags=source.unknown_tags,
        unknown_files=source.unknown_files,
        beyond_limit=len(source.items) - len(chosen),
        candidates=len(chosen) + len(source.rejected),
        skipped=len(skipped),
        enlarged=enlarged,
    )


def _refuse_too_many(
    counts: Counts, skipped: list[SkippedFile], left_out: tuple[IgnoredFiles, ...], data: DataParams
) -> None:
    """Raises DataError when no image is left, or the share of skipped files is above data.max_skipped."""
    source = f"params.yaml: data.source = {data.source!r}"
    examples = "; ".join(f"{skip.file}: {skip.reason}" for skip in skipped[:SHOWN])
    if counts.candidates == 0 and counts.files:
        raise DataError(
            f"params.yaml: data.labels = {data.labels!r} leaves none of {counts.files} files: {counts.untagged} have "
            "no row, and the others have tags that its classes.txt does not list"
        )
    if counts.candidates == 0:
        others = f", only {listed_kinds(left_out)}" if left_out else ""
        raise DataError(f"{source} holds no images{others}; put some in, or name another folder")
    if counts.skipped == counts.candidates:
        raise DataError(f"{source} holds no readable image among its {counts.candidates} files ({examples})")
    if counts.skipped > data.max_skipped * counts.candidates:
        raise DataError(
            f"{counts.skipped} of {counts.candidates} files in {data.source} had to be skipped ({examples}"
            f"{'; ...' if counts.skipped > SHOWN else ''}); repair or remove them, or raise data.max_skipped "
            f"({data.max_skipped}) in params.yaml"
        )


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="PIL")  # what matters of them is in the manifest
    run_stage(main)
