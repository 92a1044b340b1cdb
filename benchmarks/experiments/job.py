"""One run as an order to a worker process, and the name under which its result is kept."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.experiments.dataset import IMAGES, LABELS, ImageSpec, prepare
from benchmarks.experiments.variants import Size, Variant
from training.data.manifest import data_sha256
from training.stage_code import code_digest

HERE = Path(__file__).parent
# What changes from seed to seed, or only what a run leaves on its way.
PASSING = {"seed", "device", "checkpoint_kimg", "keep_checkpoints", "sheet_epochs"}


@dataclass(frozen=True)
class Job:
    """One seed of a variant, and where its pictures and its result belong."""

    variant: Variant
    size: Size
    seed: int
    kind: ImageSpec
    pictures: Path
    result: Path
    workers: int


def jobs(variant: Variant, size: Size, seeds: int, rgb_source: str | None, work: Path, workers: int) -> list[Job]:
    """An order for every seed, with folders in `work`, where the pictures are prepared."""
    data = variant.params(size, 0).data
    kind = ImageSpec(data.resolution, data.channels, rgb_source if data.channels == 3 else None, size.pool)
    pictures = kind.folder(work / "pictures")
    prepare(kind, pictures)
    kept = work / "kept" / key(variant, size, data_sha256(pictures / IMAGES, pictures / LABELS))
    return [Job(variant, size, seed, kind, pictures, kept / f"seed-{seed}.json", workers) for seed in range(seeds)]


def key(variant: Variant, size: Size, pictures_sha256: str) -> str:
    """A hash of all that shapes a run but its seed: parameters, size, pictures and code, not what it is called.

    Two variants that ask for the same share their runs. A run of other code is another run.
    """
    params = variant.params(size, 0)
    shape = {
        "pictures": pictures_sha256,
        "size": asdict(size),
        "times_source": variant.times_source,
        "network": params.network.model_dump(),
        "objective": params.objective.model_dump(),
        "stabilise": params.stabilise.model_dump(),
        "train": params.train.model_dump(exclude=PASSING),
    }
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
    digest.update(code_digest("train", "evaluate").encode())
    for name in ("evaluator.py", "dataset.py", "worker.py"):
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()[:16]
