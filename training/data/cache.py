"""Cache of the prepared data: rebuilt when `data` in params.yaml, the source, the code or Pillow has changed.

Missing or damaged arrays are rebuilt too. The record of the last build is kept outside data/prepared: it holds file
times, and files that DVC tracks must not change from run to run.
"""

import os
from hashlib import sha256

import PIL

from serving.files import atomic_write
from training import paths
from training.data.manifest import DataError, FrozenModel, Manifest, data_sha256, read_manifest
from training.data.sources import labels_path, source_path
from training.data.sources.folders import walk
from training.param_sections import DataParams
from training.stage_code import code_digest

OUTPUTS = (paths.IMAGES, paths.LABELS, paths.MANIFEST)


# Size, mtime and ctime in ns, inode, device. Tools such as rsync and tar can restore size and mtime, but not the ctime
# or the inode.
FileState = tuple[int, int, int, int, int]


class PreparedDataInputs(FrozenModel):
    """Everything that the prepared data depends on."""

    data: DataParams
    files: str  # hash of the names and states of the source's files
    code: str  # digest of the preprocess stage's code, and Pillow's version


class CacheRecord(FrozenModel):
    """Record of the last build: its inputs, and the state of the files that it wrote."""

    inputs: PreparedDataInputs
    outputs: dict[str, FileState]  # by path
    manifest_sha256: str


def current_inputs(data: DataParams) -> PreparedDataInputs:
    """Collect the current inputs without opening an image. Raises DataError when the source is missing."""
    return PreparedDataInputs(
        data=data, files=_source_fingerprint(data), code=f"{code_digest('preprocess')} Pillow {PIL.__version__}"
    )


def _source_fingerprint(data: DataParams) -> str:
    """Hash the names and states of the files that data.source and data.labels refer to."""
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
        digest.update(f"{name!r} {_file_state(stat)}\n".encode())
    return digest.hexdigest()


def _file_state(stat: os.stat_result) -> FileState:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev


def cached_manifest(inputs: PreparedDataInputs) -> Manifest | None:
    """Return the manifest of the prepared data if it is intact and was built from these inputs, else None."""
    try:
        record = CacheRecord.model_validate_json(paths.PREPARED_CACHE_RECORD.read_bytes())
        manifest = read_manifest()
        if record.inputs != inputs:
            return None
        if record.outputs == _output_states():
            return manifest
        # A checkout by DVC restores the same bytes with new times, so compare contents.
        if record.manifest_sha256 != _manifest_sha256() or manifest.data_sha256 != data_sha256():
            return None
    except (OSError, ValueError, DataError):  # no record, or a damaged record or output: rebuild
        return None
    write_cache_record(inputs)
    return manifest


def write_cache_record(inputs: PreparedDataInputs) -> None:
    """Record that the current outputs were built from these inputs."""
    record = CacheRecord(inputs=inputs, outputs=_output_states(), manifest_sha256=_manifest_sha256())
    with atomic_write(paths.PREPARED_CACHE_RECORD) as path:
        path.write_text(record.model_dump_json(indent=2) + "\n")


def _output_states() -> dict[str, FileState]:
    return {str(path): _file_state(path.stat()) for path in OUTPUTS}


def _manifest_sha256() -> str:
    return sha256(paths.MANIFEST.read_bytes()).hexdigest()
