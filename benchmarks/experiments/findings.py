"""Findings of the experiments: an answer to each question, and whether it reproduces the source's.

Every sentence is computed from the results, so that none can contradict the tables. Two variants differ where their
means are further apart than the sum of their standard deviations.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from benchmarks.experiments.results import VariantResult
from benchmarks.experiments.summary import (
    COLLAPSE_EPOCH,
    COLLAPSED_COVERAGE,
    COLUMNS,
    best_variant,
    cell,
    number,
    values,
)
from benchmarks.experiments.variants import Experiment, find

Results = Mapping[str, VariantResult]  # by variant name, in the table's order

LATENT_TURN = 80 * 3500  # images seen when the source's run with latent 10 got worse
SHORT = "-short"


def findings(experiment: Experiment, results: Results) -> str:
    """Sentences on an experiment; empty without comparable results."""
    available = {variant.name: results[variant.name] for variant in experiment.variants if variant.name in results}
    return " ".join(sentence for sentence in FINDINGS[experiment.name](experiment, available) if sentence)


def difference(one: VariantResult, other: VariantResult, column: str) -> float | None:
    """Mean of one minus that of the other; 0 where they overlap, None where a run has no figure."""
    first, second = values(one, column), values(other, column)
    if len(first) < max(2, len(one.seeds)) or len(second) < max(2, len(other.seeds)):
        return None
    gap = statistics.fmean(first) - statistics.fmean(second)
    return gap if abs(gap) > statistics.stdev(first) + statistics.stdev(second) else 0.0


def mean(result: VariantResult, column: str) -> str:
    """Mean of a figure, formatted as in the table."""
    return number(statistics.fmean(values(result, column)), COLUMNS[column].digits)


def compared_with(base: str, results: Results, column: str, others: Sequence[str]) -> str:
    """Sentence on the variants above and below a base variant in a figure; empty where it has none."""
    if not values(results[base], column):
        return ""
    gaps = {name: difference(results[name], results[base], column) for name in others if name in results}
    shown = [
        f"{word} with {', '.join(_with_mean(results, name, column) for name in names)}"
        for word, sign in (("lower", -1), ("higher", 1))
        if (names := [name for name, gap in gaps.items() if gap and gap * sign > 0])
    ]
    title, differ = COLUMNS[column].title, " and ".join(shown) or "no difference"
    return f"{title[0].upper()}{title[1:]} against {_with_mean(results, base, column)}: {differ}."


def ranking(names: Sequence[str], results: Results, column: str) -> str:
    """Means of a series of variants, with the differences between neighbours: `0.41 > 0.26 ≈ 0.20`."""
    text = mean(results[names[0]], column)
    for one, other in pairwise(names):
        gap = difference(results[one], results[other], column)
        text += f" {'≈' if not gap else '>' if gap > 0 else '<'} {mean(results[other], column)}"
    return text


def _best_variants(experiment: Experiment, results: Results) -> Iterator[str]:
    labelled = [(find(name).label, result) for name, result in results.items()]
    for column in experiment.compared:
        yield best_variant(labelled, column) or ""


def _latent(experiment: Experiment, results: Results) -> Iterator[str]:
    """Long and short runs separately: they have not seen the same number of images."""
    for short in (False, True):
        group = {name: result for name, result in results.items() if name.endswith(SHORT) == short}
        if group:
            seen = next(iter(group.values())).images_seen
            if best := " ".join(filter(None, _best_variants(experiment, group))):
                yield f"After {seen:,} images seen: {best}"
    one, ten, fifty = (f"latent-{dim}" for dim in (1, 10, 50))
    if one in results:
        yield compared_with(one, results, "coverage", [ten, fifty, "latent-100"])
    if ten in results and fifty in results:
        gap = difference(results[fifty], results[ten], "kid")
        if gap is not None and gap >= 0:
            how = "overlap" if gap == 0 else "are the other way round"
            yield f"Not reproduced: that latent 50 is better than latent 10, as their KIDs {how}."
        if results[ten].images_seen < LATENT_TURN:
            yield (f"Not tested: the decline of latent 10 after epoch 80, in the source {LATENT_TURN:,} images seen.")


def _critics(experiment: Experiment, results: Results) -> Iterator[str]:
    yield from _best_variants(experiment, results)
    lambdas = ["wgan-gp-lambda-half", "wgan-gp-lambda-5", "wgan-gp-lambda-10"]
    steps = ["wgan-gp-steps-1", "wgan-gp-steps-2", "wgan-gp-steps-4", "wgan-gp-lambda-10"]
    for title, names in (("Lambda 0.5, 5, 10", lambdas), ("Critic steps 1, 2, 4, 5", steps)):
        if all(name in results and values(results[name], "kid") for name in names):
            precision, kid = ranking(names, results, "precision"), ranking(names, results, "kid")
            yield f"{title}: precision {precision}; KID {kid}."
            if names is steps and ">" in precision and ">" in kid:
                yield "There the two disagree: fewer critic steps raise the yield, and more of them lower KID."
    one, dcgan = results.get(steps[0]), results.get("dcgan")
    if one and dcgan and (difference(dcgan, one, "kid") or 0) < 0:
        yield (
            f"At as many steps of the generator, KID is {mean(one, 'kid')} for WGAN-GP with one critic step and "
            f"{mean(dcgan, 'kid')} for DCGAN: that others took fewer steps does not explain DCGAN's lead."
        )
    yield "Not tested: faces, and which samples a person would keep."


def _digits(experiment: Experiment, results: Results) -> Iterator[str]:
    yield from _best_variants(experiment, results)
    dense, dcgan = results.get("digits-gan"), results.get("digits-dcgan")
    if dense is None or dcgan is None or not values(dcgan, "coverage") or not values(dense, "coverage"):
        return
    if statistics.fmean(values(dcgan, "coverage")) > COLLAPSED_COVERAGE:
        opposite = (difference(dcgan, dense, "coverage") or 0) > 0
        yield (
            f"Not reproduced: a DCGAN that loses classes. Here it covers {mean(dcgan, 'coverage')} of them and the "
            f"vanilla GAN {mean(dense, 'coverage')}{', which contradicts it' if opposite else ''}."
        )


def _colour(experiment: Experiment, results: Results) -> Iterator[str]:
    """Cost as a ratio between resolutions; speed in images seen, as an epoch of 3,000 images is three of 1,000."""
    for images in ("1000", "3000"):
        small, large = results.get(f"rgb-28-{images}"), results.get(f"rgb-64-{images}")
        if small and large:
            costs = [f"a step at 64 px costs {_ratio(large, small, 'step_ms')} times one at 28 px"]
            if values(small, "source_image_ms") and values(large, "source_image_ms"):
                costs.append(f"in the source's network {_ratio(large, small, 'source_image_ms')} times")
            yield f"With {int(images):,} images {', '.join(costs)}."
    yield from _best_variants(experiment, results)
    if any(name.endswith("1000") for name in results) and any(name.endswith("3000") for name in results):
        yield (
            "First recognisable epochs do not compare between 1,000 and 3,000 images, as one of the latter's shows "
            "three times as many."
        )
    if any(result.scale == "small" for result in results.values()):
        yield "Not tested: the source's 250 epochs, and the detail that 64 px have over 28."


def _collapse(experiment: Experiment, results: Results) -> Iterator[str]:
    """The answer first, then the effect of each remedy on the plain run."""
    plain = results.get("collapse-plain")
    counts = {name: values(result, "collapsed") for name, result in results.items()}
    if plain is None or not counts["collapse-plain"]:
        yield from _best_variants(experiment, results)
        return
    count, runs = sum(counts["collapse-plain"]), len(counts["collapse-plain"])
    source = results.get("collapse-source")
    beside = f", and {cell(source, 'collapsed')} with beta1 0.5" if source else ""
    answer = "No" if count == 0 else "Yes" if count == runs else "In part"
    yield f"{answer}: {cell(plain, 'collapsed')} plain runs had collapsed by epoch {COLLAPSE_EPOCH}{beside}."
    if count == 0:
        yield (
            "Not reproduced: the source's collapse. So nothing here shows that a remedy prevents one, only what it "
            "changes in a run that holds."
        )
    remedies = [name for name in results if name not in ("collapse-plain", "collapse-source")]
    for column in ("kid", "diversity_at_35", "coverage_at_35"):
        yield compared_with("collapse-plain", results, column, remedies)
    others = [f"{_quoted(name)} ({cell(results[name], 'collapsed')})" for name in remedies if sum(counts[name])]
    if others:
        yield f"Collapsed with a remedy: {', '.join(others)}."
    if "collapse-source" in results:
        yield f"And beta1 itself: {compared_with('collapse-plain', results, 'kid', ['collapse-source'])}"


def _ratio(one: VariantResult, other: VariantResult, column: str) -> str:
    return f"{statistics.fmean(values(one, column)) / statistics.fmean(values(other, column)):.1f}"


def _quoted(name: str) -> str:
    return f'"{find(name).label}"'  # some labels contain commas


def _with_mean(results: Results, name: str, column: str) -> str:
    return f"{_quoted(name)} ({mean(results[name], column)})"


FINDINGS: Mapping[str, Callable[[Experiment, Results], Iterator[str]]] = {
    "latent": _latent,
    "critics": _critics,
    "digits": _digits,
    "colour": _colour,
    "rotation": _best_variants,
    "collapse": _collapse,
}
