"""One side of a comparison: the images, card, metrics and curves of a model, wherever it comes from."""

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.inference.generator import OnnxGenerator
from serving.inference.latents import Images, Labels
from serving.inference.model_card import ModelCard
from training import paths
from training.loop import LOG_EVERY_IMAGES
from training.model_versions import CANDIDATE, ModelVersion
from training.pages.charts import Points

SCALARS = ("d_loss", "g_loss", "d_real", "d_fake")  # of the curves
KIMG_PER_ROW = LOG_EVERY_IMAGES / 1000  # of the curves

ReadFile = Callable[[Path], bytes | None]  # the content of a file of the project; None where it is missing


@dataclass(frozen=True)
class ComparedModel:
    """A model to compare.

    label: as the user named it. origin: what it is, and where. metrics: as `evaluate` writes them; empty if they
    are not of this model. curves: by scalar; empty if they were not kept.
    """

    label: str
    origin: str
    model_id: str
    card: ModelCard
    metrics: Mapping[str, Any]
    curves: Mapping[str, Points]
    images: Callable[[list[int], Labels | None], Images]  # of seeds and labels (None: drawn from the seeds)


def onnx_model(label: str, origin: str, content: bytes, version: ModelVersion, read: ReadFile) -> ComparedModel:
    """Describe a model file of the checkout or of a commit, whose files `read` returns.

    Raises ModelError for a file that is damaged or has no model card.
    """
    generator = OnnxGenerator.open(content, version.model)
    metrics = json.loads(read(version.metrics) or b"{}")
    # reports/train is of the last run, whose model is the candidate. A fresh clone lacks that: the length must do.
    of_last_run = read(CANDIDATE.model) in (content, None) and trained_kimg(read) == generator.card.images_seen / 1000
    return ComparedModel(
        label=label,
        origin=origin,
        model_id=generator.model_id,
        card=generator.card,
        metrics=metrics if metrics.get("model_id") == generator.model_id else {},
        curves=read_curves(read) if of_last_run else {},
        images=lambda seeds, labels: generator.generate(seeds, labels)[0],
    )


def trained_kimg(read: ReadFile) -> float | None:
    """Thousands of images in the last row of the curves; None where there are none."""
    summary = read(paths.TRAIN_REPORT / "metrics.json")
    return None if summary is None else float(json.loads(summary)["kimg"])


def read_curves(read: ReadFile) -> dict[str, Points]:
    """Curves of a run by scalar; empty where they are missing.

    A row holds the means over the last KIMG_PER_ROW, and the last one over what was left.
    """
    kimg = trained_kimg(read)
    if kimg is None:
        return {}
    curves: dict[str, Points] = {}
    for scalar in SCALARS:
        table = read(paths.TRAIN_REPORT / "plots" / "metrics" / f"{scalar}.tsv") or b""
        rows = csv.DictReader(table.decode().splitlines(), delimiter="\t")
        curves[scalar] = [(min((int(row["step"]) + 1) * KIMG_PER_ROW, kimg), float(row[scalar])) for row in rows]
    return curves
