"""Stage 1: preprocessing of data.source into data/prepared: images of one size, their labels, and a manifest.

    python -m training.preprocess

Runs at every `dvc repro`, and returns at once when the source, the parameters and the code are unchanged.
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

from serving.error_messages import escaped
from serving.files import atomic_write
from training import paths
from training.data.cache import cached_manifest, current_inputs, write_cache_record
from training.data.decode import load_image
from training.data.manifest import Counts, DataError, IgnoredFiles, Manifest, SkippedFile, data_sha256
from training.data.npy import NpyWriter
from training.data.provenance import base_name, provenance
from training.data.sources import Item, Source, UnreadableImageError, open_source
from training.data.sources.base import IgnoredFile, Pixels
from training.data.subset import stratified_subset
from training.data.summary import format_ignored, summary_lines
from training.lock import exclusive_lock
from training.param_sections import DataParams
from training.params import load_params
from training.progress import heartbeat, track
from training.stage import run_stage

PENDING_PER_CORE = 8  # enough to keep every core busy, few enough to bound memory
MAX_EXAMPLES = 3  # of files, in an error or for each kind in the manifest

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """A decoded item."""

    item: Item
    pixels: Pixels  # [H, W, C]
    content_sha256: bytes
    enlarged: bool


def main() -> None:
    """Prepare the data that params.yaml describes, unless it is up to date.

    Raises MintError while another process is preparing it.
    """
    data = load_params().data
    with exclusive_lock(paths.PREPARED_LOCK, f"preparing {paths.PREPARED}"):
        prepare_if_stale(data)


def prepare_if_stale(data: DataParams) -> None:
    """Prepare the data unless it is up to date. Requires the lock."""
    started = time.monotonic()
    name = escaped(base_name(data.source))
    for leftover in paths.PREPARED.glob(".*.part"):  # left by a killed run; DVC would track it
        leftover.unlink()
    with heartbeat(f"checking {name}"):
        inputs = current_inputs(data)
        manifest = cached_manifest(inputs)
    if manifest is not None:
        print(f"{paths.PREPARED} is up to date: {manifest.description}")
        return
    with ExitStack() as stack:
        with heartbeat(f"opening {name}"):
            source = stack.enter_context(open_source(data))
        manifest = prepare(source, data)
    write_cache_record(inputs)
    print(f"prepared {paths.PREPARED}  {manifest.description}  {time.monotonic() - started:.1f} s")
    print(*summary_lines(manifest), sep="\n")


def prepare(source: Source, data: DataParams) -> Manifest:
    """Write images.npy, labels.npy and manifest.json, all three or none.

    Raises DataError when no image is left, or the share of skipped files exceeds data.max_skipped.
    """
    chosen = stratified_subset(source.items, data.limit)
    with ExitStack() as stack:  # exits in reverse order, so the manifest, which lists the others' hash, is written last
        manifest_path, labels_path, images_path = (
            stack.enter_context(atomic_write(path)) for path in (paths.MANIFEST, paths.LABELS, paths.IMAGES)
        )
        labels, source_sha256, skipped, enlarged = write_images(chosen, data, images_path)
        skipped = sorted([*source.skipped, *skipped], key=lambda skip: skip.file)
        counts = _count_files(source, chosen, skipped, enlarged)
        ignored = _group_ignored(source.ignored)
        _check_skipped(counts, skipped, ignored, data)
        label_array, classes, empty = drop_empty_classes(labels, source.classes)
        with labels_path.open("wb") as file:
            np.save(file, label_array)
        with heartbeat("hashing the prepared images"):
            arrays_sha256 = data_sha256(images_path, labels_path)
        manifest = Manifest(
            **asdict(provenance(data.source)),
            images=len(labels),
            resolution=data.resolution,
            channels=data.channels,
            classes=classes,
            class_tags=tuple(source.class_tags.get(name, (name,)) for name in classes),
            images_per_class=dict(zip(classes, np.bincount(label_array).tolist(), strict=False)),
            empty_classes=empty,
            data_sha256=arrays_sha256,
            source_sha256=source_sha256,
            counts=counts,
            skipped=tuple(skipped),
            left_out=ignored,
        )
        manifest_path.write_text(manifest.model_dump_json(indent=2) + "\n")
        paths.MANIFEST.unlink(missing_ok=True)  # it must not describe arrays that are about to be replaced
    return manifest


def write_images(items: list[Item], data: DataParams, path: Path) -> tuple[list[int], str, list[SkippedFile], int]:
    """Write one row for each readable item, in order.

    Returns the labels of the rows (0 for unlabelled data), the hash of the names and contents, the skipped files, and
    the number of upscaled images.
    """
    labels: list[int] = []
    enlarged = 0
    skipped: list[SkippedFile] = []
    source_sha256 = sha256()
    with NpyWriter(path, (*data.resolution, data.channels)) as rows:
        results = parallel_map(lambda item: decode_item(item, data), items)
        for result in track(results, len(items), "preparing images"):
            if isinstance(result, SkippedFile):
                skipped.append(result)
                continue
            rows.append(result.pixels)
            labels.append(result.item.label or 0)
            enlarged += result.enlarged
            source_sha256.update(result.item.name.encode() + b"\0" + result.content_sha256)
    return labels, source_sha256.hexdigest(), skipped, enlarged


def decode_item(item: Item, data: DataParams) -> PreparedImage | SkippedFile:
    """Decode one item; a SkippedFile with the reason if it cannot be read."""
    try:
        content = item.read()
        image = load_image(content, data)
        digest = sha256(content if isinstance(content, bytes) else content.data).digest()
        return PreparedImage(item, image.pixels, digest, image.enlarged)
    except UnreadableImageError as error:
        return SkippedFile(file=item.name, reason=str(error))


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map `work` over the items on all cores and yield the results in order, with a bounded number pending.

    Threads suffice, because Pillow releases the GIL while it decodes: 1.8 times as fast on two cores for images from
    256 pixels up. Smaller ones gain nothing, but take under a millisecond each.
    """
    cores = len(os.sched_getaffinity(0))
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(cores)
    try:
        for item in items:
            if len(pending) == cores * PENDING_PER_CORE:
                yield pending.popleft().result()
            pending.append(pool.submit(work, item))
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def drop_empty_classes(
    labels: list[int], classes: list[str]
) -> tuple[NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
    """Drop classes without images. Returns renumbered labels, the classes with images, and those without.

    The service would offer a class that was never trained, and return noise for it.
    """
    if not classes:
        return np.array(labels, np.int64), (), ()
    used, renumbered = np.unique(np.array(labels, np.int64), return_inverse=True)
    empty = [name for label, name in enumerate(classes) if label not in set(used.tolist())]
    return renumbered.astype(np.int64), tuple(classes[label] for label in used), tuple(empty)


def _group_ignored(ignored: list[IgnoredFile]) -> tuple[IgnoredFiles, ...]:
    """Group ignored files by kind, the most frequent first, with a few names of each."""
    names = defaultdict(list)
    for entry in sorted(ignored):
        names[entry.kind].append(entry.file)
    kinds = sorted(names, key=lambda kind: (-len(names[kind]), kind))
    return tuple(
        IgnoredFiles(kind=kind, files=len(names[kind]), examples=tuple(names[kind][:MAX_EXAMPLES])) for kind in kinds
    )


def _count_files(source: Source, chosen: list[Item], skipped: list[SkippedFile], enlarged: int) -> Counts:
    """Count the files. Files that the source itself skipped are candidates too, as they are named like images."""
    dropped = source.untagged + sum(source.unknown_tags.values())
    return Counts(
        files=len(source.items) + len(source.skipped) + dropped,
        untagged=source.untagged,
        unknown_tags=source.unknown_tags,
        unknown_files=source.unknown_files,
        beyond_limit=len(source.items) - len(chosen),
        candidates=len(chosen) + len(source.skipped),
        skipped=len(skipped),
        enlarged=enlarged,
    )


def _check_skipped(
    counts: Counts, skipped: list[SkippedFile], ignored: tuple[IgnoredFiles, ...], data: DataParams
) -> None:
    """Raise DataError when no image is left, or the share of skipped files exceeds data.max_skipped."""
    source = f"params.yaml: data.source = {data.source!r}"
    examples = "; ".join(f"{skip.file}: {skip.reason}" for skip in skipped[:MAX_EXAMPLES])
    if counts.candidates == 0 and counts.files:
        raise DataError(
            f"params.yaml: data.labels = {data.labels!r} leaves none of {counts.files} files: {counts.untagged} have "
            "no row, and the others have tags that its classes.txt does not list"
        )
    if counts.candidates == 0:
        others = f", only {format_ignored(ignored)}" if ignored else ""
        raise DataError(f"{source} holds no images{others}; put some in, or name another folder")
    if counts.skipped == counts.candidates:
        raise DataError(f"{source} holds no readable image among its {counts.candidates} files ({examples})")
    if counts.skipped > data.max_skipped * counts.candidates:
        raise DataError(
            f"{counts.skipped} of {counts.candidates} files in {data.source} had to be skipped ({examples}"
            f"{'; ...' if counts.skipped > MAX_EXAMPLES else ''}); repair or remove them, or raise data.max_skipped "
            f"({data.max_skipped}) in params.yaml"
        )


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="PIL")  # the relevant problems are in the manifest
    run_stage(main)
