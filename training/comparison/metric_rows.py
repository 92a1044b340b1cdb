"""Table of the metrics of two models, where only what was measured on the same terms is compared."""

from dataclasses import dataclass

from training.comparison.models import ComparedModel

BASELINE = "_of_real"  # suffix of a metric's real baseline


@dataclass(frozen=True)
class Metric:
    """A figure of reports/metrics.json and how it is shown."""

    title: str
    better: str  # "lower", "higher", or "as real images"
    digits: int = 3
    by_extractor: bool = True  # computed on the features of evaluate.extractor


METRICS = {
    "kid": Metric("KID", "lower", 4),
    "fid": Metric("FID", "lower", 1),
    "precision": Metric("precision", "higher"),
    "recall": Metric("recall", "higher"),
    "diversity": Metric("diversity", "as real images", 2),
    "class_agreement": Metric("class agreement", "higher", by_extractor=False),
    "class_coverage": Metric("class coverage", "higher", by_extractor=False),
    "memorised": Metric("memorised", "as real images", 4, by_extractor=False),
    "nearest_training": Metric("distance to the nearest training image", "as real images", 4, by_extractor=False),
}


@dataclass(frozen=True)
class MetricRow:
    """A row of the table. `problem` says why the values cannot be compared; then there are none."""

    title: str
    better: str
    values: tuple[str, str] = ("", "")
    real: str = ""  # the same metric of real images
    problem: str = ""


def metric_rows(a: ComparedModel, b: ComparedModel) -> list[MetricRow]:
    """One row for each metric that either model has."""
    return [_row(name, metric, a, b) for name, metric in METRICS.items() if name in a.metrics or name in b.metrics]


def _row(name: str, metric: Metric, a: ComparedModel, b: ComparedModel) -> MetricRow:
    if problem := _problem(name, metric, a, b):
        return MetricRow(metric.title, metric.better, problem=f"not comparable: {problem}")
    values = [f"{model.metrics[name]:.{metric.digits}f}" for model in (a, b)]
    real = a.metrics.get(name + BASELINE)
    return MetricRow(
        metric.title, metric.better, (values[0], values[1]), "" if real is None else f"{real:.{metric.digits}f}"
    )


def _problem(name: str, metric: Metric, a: ComparedModel, b: ComparedModel) -> str | None:
    """Say why a metric of two models cannot be compared; None if it can."""
    for model in (a, b):
        if not model.metrics:
            return f"{model.label} has not been evaluated"
        if name not in model.metrics:
            return f"{model.label} has none: it {model.metrics.get('omitted', {}).get(name, 'was not computed')}"
    if a.card.data_sha256 != b.card.data_sha256:
        return "they were trained and evaluated on different data"
    for terms in ("images", "extractor") if metric.by_extractor else ("images",):
        if a.metrics[terms] != b.metrics[terms]:
            return f"computed with other {terms}: {a.metrics[terms]} and {b.metrics[terms]}"
    return None
