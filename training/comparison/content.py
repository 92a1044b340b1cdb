"""Content of the comparison page, as data for its template."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.encoding.images import contact_sheet, encode
from serving.inference.latents import Labels
from training.comparison.metric_rows import MetricRow, metric_rows
from training.comparison.models import SCALARS, ComparedModel
from training.pages import data_url
from training.pages.charts import COLOURS, Chart, Curve, draw_svg, loss_range
from training.presets import flatten
from training.sample_grids import GRID_COLUMNS, GRID_ROWS, MAX_CLASS_ROWS

CHART_SIZE = (480, 200)  # pixels
CHART_TITLES = dict(zip(SCALARS, ("loss of D", "loss of G", "D(x), real", "D(G(z)), generated"), strict=True))
PIXEL_ART = 48  # side up to which enlarged pixels stay crisp
MISSING = "-"


@dataclass(frozen=True)
class Picture:
    """An image within the page. url: a data URL."""

    url: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Row:
    """A row of a table: what is compared, and the value of each model."""

    title: str
    values: tuple[str, str]


@dataclass(frozen=True)
class Comparison:
    """All that the page shows of two models."""

    labels: tuple[str, str]
    samples: str  # how the sample grids were made
    grids: tuple[Picture, Picture]
    crisp: bool  # images so small that their pixels are shown as squares
    metrics: list[MetricRow]
    extractor: str  # of the metrics that compare features, if it is one
    charts: list[Picture]
    without_curves: list[str]  # labels of models whose curves were not kept
    params: list[Row]
    cards: list[Row]


def compare(a: ComparedModel, b: ComparedModel) -> Comparison:
    """Generate images from both models and collect what differs."""
    models = (a, b)
    seeds, labels = grid_inputs(a, b)
    extractors = {model.metrics["extractor"] for model in models if model.metrics}
    return Comparison(
        labels=(a.label, b.label),
        samples=_describe_samples(a, b, labels is not None),
        grids=(_sample_grid(a, seeds, labels), _sample_grid(b, seeds, labels)),
        crisp=max(*a.card.resolution, *b.card.resolution) <= PIXEL_ART,
        metrics=metric_rows(a, b),
        extractor=extractors.pop() if len(extractors) == 1 else "",
        charts=draw_charts(a, b),
        without_curves=[model.label for model in models if not model.curves],
        params=differing_params(a.card.params, b.card.params),
        cards=card_rows(a, b),
    )


def grid_inputs(a: ComparedModel, b: ComparedModel) -> tuple[list[int], Labels | None]:
    """Seeds and labels of the sample grids, equal for both models at every place.

    One row per class, with equal seeds in each, if both models have the same classes; else each seed draws its class.
    """
    classes = a.card.classes if a.card.classes == b.card.classes else ()
    if not classes:
        return list(range(GRID_ROWS * GRID_COLUMNS)), None
    rows = min(len(classes), MAX_CLASS_ROWS)
    return list(range(GRID_COLUMNS)) * rows, np.arange(rows, dtype=np.int64).repeat(GRID_COLUMNS)


def draw_charts(a: ComparedModel, b: ComparedModel) -> list[Picture]:
    """One chart for each scalar, with the curves of both models; none if neither has curves."""
    models = [(model, colour) for model, colour in zip((a, b), COLOURS, strict=False) if model.curves]
    if not models:
        return []
    kimg = max(model.card.images_seen for model, _ in models) / 1000
    charts = []
    for scalar, title in CHART_TITLES.items():
        lines = [model.curves[scalar] for model, _ in models]
        curves = [Curve(model.curves[scalar], colour, model.label) for model, colour in models]
        limits = loss_range(lines) if scalar.endswith("loss") else (0.0, 1.0)
        svg = draw_svg([Chart(curves, "kimg", (0, kimg), limits, title)], CHART_SIZE)
        alt = f"{title} of {' and '.join(model.label for model, _ in models)} over {kimg:g} kimg"
        charts.append(Picture(data_url(svg, "image/svg+xml"), *CHART_SIZE, alt))
    return charts


def differing_params(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    """Parameters whose values differ, by dotted key, in the order of params.yaml."""
    first, second = (flatten({key: _join_lengths(value) for key, value in params.items()}) for params in (a, b))
    return [
        Row(key, (_to_text(first, key), _to_text(second, key)))
        for key in dict.fromkeys([*first, *second])
        if _to_text(first, key) != _to_text(second, key)
    ]


def card_rows(a: ComparedModel, b: ComparedModel) -> list[Row]:
    """What the model cards say: identity, provenance and shape."""
    facts = [_card_facts(model) for model in (a, b)]
    return [Row(title, (facts[0][title], facts[1][title])) for title in facts[0]]


def _card_facts(model: ComparedModel) -> dict[str, str]:
    card = model.card
    return {
        "model": model.origin,
        "id": model.model_id,
        "name": card.name,
        "images seen": f"{card.images_seen / 1000:.1f} kimg",
        "images": card.shape,
        "latent": f"{card.latent_dim} numbers",
        "training data": card.data_sha256[:12],
        "commit": card.git_revision or "not recorded",
        "licence": card.licence,
    }


def _sample_grid(model: ComparedModel, seeds: list[int], labels: Labels | None) -> Picture:
    grid = contact_sheet(model.images(seeds, labels), GRID_COLUMNS)
    height, width = grid.shape[:2]
    return Picture(data_url(encode(grid, "png"), "image/png"), width, height, f"{len(seeds)} samples of {model.label}")


def _describe_samples(a: ComparedModel, b: ComparedModel, by_class: bool) -> str:
    if by_class:
        names = ", ".join(a.card.classes[:MAX_CLASS_ROWS])
        text = f"Seeds 0 to {GRID_COLUMNS - 1} from left to right, for one class per row: {names}."
    else:
        text = f"Seeds 0 to {GRID_ROWS * GRID_COLUMNS - 1}, row by row."
        if a.card.classes or b.card.classes:
            text += " The models differ in their classes, so each seed draws its own."
    if a.card.latent_dim != b.card.latent_dim:
        text += " The latents differ in size, so a seed means another latent in each model."
    return text


def _join_lengths(section: Any) -> Any:
    """Write the train.length of a card, an amount and a unit, as one value."""
    if not isinstance(section, dict) or not isinstance(length := section.get("length"), dict):
        return section
    return section | {"length": f"{length['amount']:g} {length['unit']}"}


def _to_text(values: Mapping[str, Any], key: str) -> str:
    """Write a value as in params.yaml."""
    if key not in values:
        return MISSING
    value = values[key]
    return value if isinstance(value, str) else json.dumps(value)
