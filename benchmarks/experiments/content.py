"""What the report says, before it becomes a page or Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks.experiments.readings import reading
from benchmarks.experiments.results import VariantResult
from benchmarks.experiments.summary import (
    COLLAPSED_COVERAGE,
    COLLAPSED_DIVERSITY,
    COLUMNS,
    RECOGNISABLE_COVERAGE,
    RECOGNISABLE_PRECISION,
    WATCHED_EPOCH,
    cell,
    number,
    wall_seconds,
)
from benchmarks.experiments.variants import EXPERIMENTS, Experiment

Results = Mapping[str, VariantResult]  # by variant


@dataclass(frozen=True)
class Table:
    """The first column names the row."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A variant's curves and sheets."""

    label: str
    result: VariantResult


@dataclass(frozen=True)
class ReportSection:
    """One experiment."""

    name: str
    title: str
    question: str
    paragraphs: tuple[tuple[str, str], ...]  # lead and text
    table: Table
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Report:
    """The whole of it."""

    title: str
    paragraphs: tuple[str, ...]
    sections: tuple[ReportSection, ...]
    notes: tuple[tuple[str, str], ...]  # a term and what it means


def compose(results: Results) -> Report:
    """The report on whatever variants there are results of."""
    sections = tuple(section for experiment in EXPERIMENTS if (section := _section(experiment, results)))
    return Report("The experiments of the sources, run again", _introduction(results), sections, _notes(results))


def _introduction(results: Results) -> tuple[str, ...]:
    every = list(results.values())
    scales = " and ".join(sorted({result.scale for result in every}))
    seeds = sorted({len(result.seeds) for result in every})
    runs = f"{seeds[0]} run{'s' if seeds[0] > 1 else ''}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} runs"
    missing = [variant.name for experiment in EXPERIMENTS for variant in experiment.variants]
    missing = [name for name in missing if name not in results]
    texts = [
        f"Scale: {scales}. {runs[0].upper()}{runs[1:]} of each variant, which differ in their seed alone; tables give "
        "mean ± standard deviation over them. Curves show every run, sheets the first. All of it is made by "
        "`dvc repro experiments/dvc.yaml`, whose parameters are in experiments/params.yaml.",
        f"{_machine(every)} Wall time of all runs: {_duration(wall_seconds(every))}.",
    ]
    if "small" in scales:
        texts.append(
            "Small scale keeps each question and its recipe, and shrinks the rest: hundreds of images instead of "
            "thousands, networks a quarter to an eighth as wide, batches of 16 or 32, learning rates 2.5 or 5 times "
            "the source's because there are few steps to take. Read differences between variants, not values: figures "
            "compare with one another within an experiment, not with the sources' and not with published ones."
        )
    if missing:
        texts.append(f"Not run yet: {', '.join(missing)}.")
    return tuple(texts)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def _machine(results: Sequence[VariantResult]) -> str:
    """Where and when it was measured, for every kind of machine that took part."""
    texts = []
    for hardware in dict.fromkeys(seed.hardware for result in results for seed in result.seeds):
        gpu = f" and one {hardware.gpu}" if hardware.gpu else ""
        threads = f"{hardware.threads} thread{'s' if hardware.threads > 1 else ''}"
        texts.append(
            f"Hardware: {hardware.cpu}, {hardware.cores} cores{gpu}; {hardware.workers} "
            f"run{'s' if hardware.workers > 1 else ''} at a time with {threads} each; torch {hardware.torch}."
        )
    began = [seed.began for result in results for seed in result.seeds]
    days = sorted({datetime.fromtimestamp(moment, UTC).date().isoformat() for moment in (min(began), max(began))})
    return " ".join([*texts, f"Date: {' to '.join(days)}."])


def _section(experiment: Experiment, results: Results) -> ReportSection | None:
    found = [(variant.label, results[variant.name]) for variant in experiment.variants if variant.name in results]
    if not found:
        return None
    small = any(result.scale == "small" for _, result in found)
    paragraphs = [("The source", experiment.source), ("What was run", _what_was_run([result for _, result in found]))]
    if small:
        paragraphs.append(("What differs", experiment.differs))
    if said := reading(experiment, results):
        paragraphs.append(("Reading", said))
    return ReportSection(
        experiment.name,
        experiment.title,
        experiment.question,
        tuple(paragraphs),
        _table(experiment, found),
        tuple(Figure(label, result) for label, result in found),
    )


def _what_was_run(results: Sequence[VariantResult]) -> str:
    """Sizes and networks; where variants differ in them, all that occur."""
    sizes = dict.fromkeys(
        f"{result.images:,} images for {result.epochs} epochs ({result.images_seen:,} images seen)"
        for result in results
    )
    shapes = dict.fromkeys(f"{result.resolution}x{result.resolution}x{result.channels}" for result in results)
    networks = dict.fromkeys(
        f"{result.network} of widths {result.generator_width} (G) and {result.discriminator_width} (D)"
        for result in results
    )
    batches = dict.fromkeys(str(result.batch) for result in results)
    rates = dict.fromkeys(f"{result.rate_factor:g}" for result in results if result.rate_factor != 1)
    return (
        f"{_any(sizes)} of {_any(shapes)} pixels, from {_any(dict.fromkeys(result.pictures for result in results))}. "
        f"Network {_any(networks)}; batches of {_any(batches)}; "
        f"{f'learning rates {_any(rates)} times the preset' if rates else 'learning rates as in the preset'}; "
        f"presets {_any(dict.fromkeys(result.preset for result in results))}. "
        f"{_any(dict.fromkeys(str(result.evaluated) for result in results))} generated images measured."
    )


def _any(texts: Mapping[str, object]) -> str:
    return " or ".join(texts)


def _table(experiment: Experiment, found: Sequence[tuple[str, VariantResult]]) -> Table:
    """A row a variant, and what real images score where that is known."""
    columns = [COLUMNS[name] for name in experiment.columns]
    extractors = {seed.extractor for _, result in found for seed in result.seeds}
    header = [f"KID ({', '.join(sorted(extractors))})" if one.title == "KID" else one.title for one in columns]
    rows = []
    for label, result in found:
        exploded = f" ({result.exploded} of {len(result.seeds)} exploded)" if result.exploded else ""
        rows.append((label + exploded, *(cell(result, name) for name in experiment.columns)))
    real = found[0][1].seeds[0].real
    if any(one.real for one in columns) and all(result.seeds[0].real == real for _, result in found):
        rows.append(
            ("held-out real images", *(number(real[one.real], one.digits) if one.real else "" for one in columns))
        )
    return Table(("", *header), tuple(rows))


def _notes(results: Results) -> tuple[tuple[str, str], ...]:
    accuracies = [seed.classifier_accuracy for result in results.values() for seed in result.seeds]
    low, high = min(accuracies), max(accuracies)
    right = f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"
    return (
        (
            "Reading",
            "Computed from the tables, what is not reproduced of a source's finding as well. Two variants differ in a "
            "figure where their means are further apart than their standard deviations added; ≈ says that they do not.",
        ),
        (
            "KID, precision, recall, diversity",
            "At the end of a run, by the extractor that is named beside KID, on generated images against twice as many "
            "real ones that no run was trained on. KID: Binkowski et al. 2018, 0 is perfect. Precision and recall: "
            "Kynkaanniemi et al. 2019, with 3 neighbours; precision is the yield, the share of samples that lie where "
            "real images do. Diversity: the mean distance between two samples, as a share of that of real images.",
        ),
        (
            "Classes covered, and the curves to the right",
            "By a small classifier of the data, at 28 px, which is cheap enough to look every few epochs. It is right "
            f"on {right} of the real images that it has not seen. A class is covered from a fifth of its share on.",
        ),
        (
            f"Collapsed at epoch {WATCHED_EPOCH}",
            f"At most {COLLAPSED_COVERAGE:.0%} of the classes are covered then, or diversity is at most "
            f"{COLLAPSED_DIVERSITY:.0%} of that of real images, by the classifier.",
        ),
        (
            "First recognisable epoch",
            f"The first epoch with a look at which at least {RECOGNISABLE_COVERAGE:.0%} of the classes are covered and "
            f"at least {RECOGNISABLE_PRECISION:.0%} of the samples lie where real images do, by the classifier. Images "
            "seen until then are what compares: an epoch of 3,000 images is three of 1,000. Looks come at the ends of "
            "epochs, so with many images they are far apart.",
        ),
        (
            "Times",
            "A step is one of the game: all steps of the discriminator and then of the generator. Looks and measures "
            "are not in it. On a CPU these are seconds of the processor and not of the clock, as other work may share "
            "it; two runs that share a core's caches still slow one another down.",
        ),
        (
            "Exploded",
            "A loss or a weight was no number any more. Such a run is counted beside the variant's name, and is not in "
            "the means of what is measured at the end.",
        ),
    )
