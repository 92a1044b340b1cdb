"""Made-up results of the experiments, so that the tests of the report need no training."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.experiments.results import (
    GRIDS,
    RESULT,
    Evaluation,
    Hardware,
    LossPoint,
    SeedResult,
    VariantResult,
    write_record,
)
from benchmarks.experiments.variants import find

HARDWARE = Hardware(cpu="a processor", gpu=None, cores=2, threads=1, workers=2, torch="2.0")


def made_up_seed(seed: int, images: int, kid: float, evaluations: Sequence[Evaluation]) -> SeedResult:
    return SeedResult(
        seed=seed,
        images=images,
        started_at=1e9 + 10 * seed,
        seconds=10.0,
        diverged_at=None,
        steps=100,
        images_seen=1600,
        step_ms=5.0,
        images_per_second=3200.0,
        sampled_per_second=9000.0,
        source_image_ms=None,
        evaluations=tuple(evaluations),
        losses=tuple(LossPoint(epoch=epoch, d_loss=1 / epoch, g_loss=1 + seed) for epoch in range(1, 51)),
        metrics={"kid": kid, "precision": 0.5, "recall": 0.1, "diversity": 0.8},
        real={"kid": 0.003, "precision": 0.86, "recall": 0.818, "diversity": 1.0},
        extractor="efficientnet-lite0",
        classifier_accuracy=0.8,
        hardware=HARDWARE,
    )


def made_up(name: str, *kids: float, coverage: float = 1.0, epoch: int = 35) -> VariantResult:
    """Result of a variant with a seed for each KID, and the coverage at an epoch and at the last, 50."""
    size = find(name).small
    images = size.images or 0
    evaluations = [
        Evaluation(epoch=each, coverage=coverage, diversity=0.9, precision=0.5) for each in sorted({epoch, 50})
    ]
    return VariantResult(
        name=name,
        scale="small",
        preset=find(name).preset,
        data="made-up images",
        images=images,
        epochs=50,
        batch=16,
        resolution=28,
        channels=1,
        network="dcgan",
        generator_width=16,
        discriminator_width=16,
        rate_factor=5.0,
        evaluated=256,
        grid_epochs=(1, 50),
        seeds=tuple(made_up_seed(seed, images, kid, evaluations) for seed, kid in enumerate(kids or (1.0, 1.01))),
    )


def diverged(name: str) -> VariantResult:
    """Result of a variant whose runs all diverged in the first epoch."""
    result = made_up(name)
    lost = {"diverged_at": 0.5, "evaluations": (), "losses": (), "metrics": {}}
    seeds = tuple(seed.model_copy(update=lost) for seed in result.seeds)
    return result.model_copy(update={"seeds": seeds, "grid_epochs": ()})


def save(result: VariantResult, results: Path) -> None:
    """Write a result and its sample grids as `run` does."""
    for epoch in result.grid_epochs:
        path = results / result.name / GRIDS / f"epoch-{epoch:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (280, 56), epoch).save(path)
    write_record(result, results / result.name / RESULT)
