"""Whether data/prepared is still what params.yaml, the source and the code would make: the note of its last build.

The note lies outside data/prepared, because it holds file times, and what DVC tracks must not change from run to run.
"""

import os
from hashlib import sha256

import PIL
from pydantic import BaseModel, ConfigDict

from serving.files import atomic_write
from training import paths
from training.data.manifest import DataError, Manifest, data_sha256, read_manifest
from training.data.sources import labels_path, source_path
from training.data.sources.folders import walk
from training.param_sections import DataParams
from training.stage_code import code_digest

OUTPUTS = (paths.IMAGES, paths.LABELS, paths.MANIFEST)


# Size, times of the last change of content and of inode in ns, inode, device. A tool that keeps a file's size and sets
# its time back, as rsync and tar can, cannot set back the time of the inode, and a file put in its place is another.
FileState = tuple[int, int, int, int, int]


class PreparedDataInputs(BaseModel):
    """All that shapes the prepared data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataParams
    files: str  # hash of the names and states of the source's files
    code: str  # digest of the code that prepares, and Pillow's version


class CacheRecord(BaseModel):
    """The note: from what the outputs were made, and how they lay on the disk then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: PreparedDataInputs
    outputs: dict[str, FileState]  # by path
    manifest_sha256: str


def current_inputs(data: DataParams) -> PreparedDataInputs:
    """The inputs as they are now, without opening an image. Raises DataError where the source is missing."""
    return PreparedDataInputs(
        data=data, files=_listing(data), code=f"{code_digest('preprocess')} Pillow {PIL.__version__}"
    )


def _listing(data: DataParams) -> str:
    """Hash of the files that data.source and data.labels name: relative names and states."""
    files = []
    source = source_path(data.source)
    if source is not None and source.is_dir():
        files += [(name, entry.stat()) for name, entry in walk(str(source)) if entry.is_file()]
    elif source is not None:
        files.append(("", source.stat()))
    if data.labels not in ("auto", "none"):
        csv = labels_path(data.labels)
        files += [(f"labels:{path.name}", path.stat()) for path in (csv, csv.with_name("classes.txt")) if path.exists()]
    digest = sha256()
    for name, stat in sorted(files, key=lambda file: file[0]):
        digest.update(f"{name!r} {_state(stat)}\n".encode())
    return digest.hexdigest()


def _state(stat: os.stat_result) -> FileState:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev


def cached_manifest(inputs: PreparedDataInputs) -> Manifest | None:
    """The manifest of the prepared data if it was made from these inputs and nobody changed it since; else None."""
    try:
        stamp = CacheRecord.model_validate_json(paths.PREPARED_CACHE_RECORD.read_bytes())
        manifest = read_manifest()
        if stamp.inputs != inputs:
            return None
        if stamp.outputs == _outputs_now():
            return manifest
        # DVC writes the same bytes with new times when it checks out; only then is it worth reading them all.
        if stamp.manifest_sha256 != _manifest_sha256() or manifest.data_sha256 != data_sha256():
            return None
    except (OSError, ValueError, DataError):  # no note, a damaged one, or damaged outputs: build again
        return None
    write_cache_record(inputs)
    return manifest


def write_cache_record(inputs: PreparedDataInputs) -> None:
    """Notes that the outputs, as they lie there now, were made from these inputs."""
    stamp = CacheRecord(inputs=inputs, outputs=_outputs_now(), manifest_sha256=_manifest_sha256())
    with atomic_write(paths.PREPARED_CACHE_RECORD) as path:
        path.write_text(stamp.model_dump_json(indent=2) + "\n")


def _outputs_now() -> dict[str, FileState]:
    return {str(path): _state(path.stat()) for path in OUTPUTS}


def _manifest_sha256() -> str:
    return sha256(paths.MANIFEST.read_bytes()).hexdigest()
