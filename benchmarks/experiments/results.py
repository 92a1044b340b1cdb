"""Records of the experiments' results: written as JSON by the runs, read by the report."""

from pathlib import Path

from serving.files import atomic_write
from training.data.manifest import FrozenModel

GRIDS = "sheets"  # folder of seed 0's sample grids, beside its results
RESULT = "result.json"


class Hardware(FrozenModel):
    """Hardware that a run was timed on."""

    cpu: str
    gpu: str | None
    cores: int
    threads: int  # of one run
    workers: int  # concurrent runs
    torch: str


class Evaluation(FrozenModel):
    """Metrics of generated images by the classifier after an epoch; see `evaluator`."""

    epoch: int
    coverage: float
    diversity: float
    precision: float


class LossPoint(FrozenModel):
    """Both losses, averaged over the steps since the previous point."""

    epoch: float
    d_loss: float
    g_loss: float


class SeedResult(FrozenModel):
    """One run of a variant. `metrics` is empty for a run that diverged."""

    seed: int
    images: int  # in the training set
    started_at: float  # Unix time in seconds
    seconds: float  # wall time, evaluation included
    diverged_at: float | None  # epoch in which a loss or a weight became NaN or infinite
    steps: int  # of the generator
    images_seen: int
    step_ms: float  # of training, without evaluations
    images_per_second: float
    sampled_per_second: float
    source_image_ms: float | None  # of training an image with the source's own network, where that was timed
    evaluations: tuple[Evaluation, ...]
    losses: tuple[LossPoint, ...]
    metrics: dict[str, float]
    real: dict[str, float]  # metrics of held-out real images
    extractor: str  # feature extractor of the metrics
    classifier_accuracy: float  # of the evaluator's classifier on held-out real images
    hardware: Hardware


class VariantResult(FrozenModel):
    """All runs of a variant, and the settings that they share."""

    name: str
    scale: str
    preset: str
    data: str  # description
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
    grid_epochs: tuple[int, ...]
    seeds: tuple[SeedResult, ...]

    @property
    def images_seen(self) -> int:
        """Images seen by a complete run: whole batches of every epoch."""
        return self.epochs * (self.images // self.batch * self.batch)

    @property
    def diverged(self) -> int:
        """Number of runs that diverged."""
        return sum(seed.diverged_at is not None for seed in self.seeds)


def write_record(record: FrozenModel, path: Path) -> None:
    """Write a record as JSON, atomically."""
    with atomic_write(path) as part:
        part.write_text(record.model_dump_json(indent=1) + "\n")
