"""What a run leaves: records that JSON holds and the report reads."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from serving.files import atomic_write
from training.data.manifest import FrozenModel

SHEETS = "sheets"  # folder of seed 0's sheets, beside the results
RESULT = "result.json"


class Hardware(FrozenModel):
    """On what a run was timed."""

    cpu: str
    gpu: str | None
    cores: int
    threads: int  # of one run
    workers: int  # runs at a time
    torch: str


class EvalPoint(FrozenModel):
    """What the classifier saw in a generator's images after an epoch; see `eye`."""

    epoch: int
    coverage: float
    diversity: float
    precision: float


class Point(FrozenModel):
    """Both losses, averaged over a stretch that ends here."""

    epoch: float
    d_loss: float
    g_loss: float


class SeedResult(FrozenModel):
    """One run of a variant. `measures` is empty where it exploded."""

    seed: int
    images: int  # trained on
    began: float  # seconds since 1970
    seconds: float  # all told, measuring included
    exploded_at: float | None  # the epoch in which a loss or a weight was no number any more
    steps: int  # of the game
    images_seen: int
    step_ms: float  # of training, without looks
    images_per_second: float
    sampled_per_second: float
    source_image_ms: float | None  # of training an image with the source's own network, where that was timed
    looks: tuple[EvalPoint, ...]
    curve: tuple[Point, ...]
    measures: dict[str, float]
    real: dict[str, float]  # what held-out real images score, by measure
    extractor: str  # of the measures
    classifier_accuracy: float  # of what looks, on real images that it has not seen
    hardware: Hardware


class VariantResult(FrozenModel):
    """All runs of a variant, and what they have in common."""

    name: str
    scale: str
    preset: str
    pictures: str  # in words
    images: int
    epochs: int
    batch: int
    resolution: int
    channels: int
    network: str
    generator_width: int
    discriminator_width: int
    rate_factor: float
    evaluated: int
    sheet_epochs: tuple[int, ...]
    seeds: tuple[SeedResult, ...]

    @property
    def images_seen(self) -> int:
        """By a run that reaches its end: whole batches of every epoch."""
        return self.epochs * (self.images // self.batch * self.batch)

    @property
    def exploded(self) -> int:
        """How many runs did not reach their end."""
        return sum(seed.exploded_at is not None for seed in self.seeds)


class Spread(FrozenModel):
    """A mean over seeds and how they scatter."""

    mean: float
    deviation: float | None  # sample standard deviation; None for a single seed


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation; None where there is nothing."""
    if not values:
        return None
    return Spread(mean=statistics.fmean(values), deviation=statistics.stdev(values) if len(values) > 1 else None)


def write_record(record: FrozenModel, path: Path) -> None:
    """Writes a record as JSON, whole or not at all."""
    with atomic_write(path) as part:
        part.write_text(record.model_dump_json(indent=1) + "\n")
