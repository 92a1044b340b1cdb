"""Readings of the experiments' tables: an answer to each question, and whether it is what the source found.

Every sentence is computed from the results, those on what is not reproduced as well, so that none outlives its
numbers. Two variants differ where their means are further apart than their standard deviations added.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from benchmarks.experiments.results import VariantResult
from benchmarks.experiments.summary import COLLAPSED_COVERAGE, COLUMNS, WATCHED_EPOCH, cell, number, sentence, values
from benchmarks.experiments.variants import Experiment, find

Found = Mapping[str, VariantResult]  # by variant, in the table's order

LATENT_TURN = 80 * 3500  # images seen when the source's latent of 10 went sideways
SHORT = "-short"


def reading(experiment: Experiment, results: Found) -> str:
    """The sentences on an experiment's variants; empty where nothing can be said."""
    found = {variant.name: results[variant.name] for variant in experiment.variants if variant.name in results}
    return " ".join(said for said in READERS[experiment.name](experiment, found) if said)


def difference(one: VariantResult, other: VariantResult, column: str) -> float | None:
    """By how much the mean of one is above the other's; 0 where they overlap, None where a run has no figure."""
    first, second = values(one, column), values(other, column)
    if len(first) < max(2, len(one.seeds)) or len(second) < max(2, len(other.seeds)):
        return None
    gap = statistics.fmean(first) - statistics.fmean(second)
    return gap if abs(gap) > statistics.stdev(first) + statistics.stdev(second) else 0.0


def mean(result: VariantResult, column: str) -> str:
    """The mean as the table has it."""
    return number(statistics.fmean(values(result, column)), COLUMNS[column].digits)


def against(base: str, found: Found, column: str, others: Sequence[str]) -> str:
    """Which of the others are above and below one variant in a figure; empty where it has none."""
    if not values(found[base], column):
        return ""
    gaps = {name: difference(found[name], found[base], column) for name in others if name in found}
    shown = [
        f"{word} with {', '.join(_scored(found, name, column) for name in names)}"
        for word, sign in (("lower", -1), ("higher", 1))
        if (names := [name for name, gap in gaps.items() if gap and gap * sign > 0])
    ]
    title, differ = COLUMNS[column].title, " and ".join(shown) or "no difference"
    return f"{title[0].upper()}{title[1:]} against {_scored(found, base, column)}: {differ}."


def chain(names: Sequence[str], found: Found, column: str) -> str:
    """The means in a row of variants, and which neighbours differ: `0.41 > 0.26 ≈ 0.20`."""
    text = mean(found[names[0]], column)
    for one, other in pairwise(names):
        gap = difference(found[one], found[other], column)
        text += f" {'≈' if not gap else '>' if gap > 0 else '<'} {mean(found[other], column)}"
    return text


def _leads(experiment: Experiment, found: Found) -> Iterator[str]:
    labelled = [(find(name).label, result) for name, result in found.items()]
    for column in experiment.reading:
        yield sentence(labelled, column) or ""


def _latent(experiment: Experiment, found: Found) -> Iterator[str]:
    """Long and short runs apart: they have not seen the same number of images."""
    for short in (False, True):
        group = {name: result for name, result in found.items() if name.endswith(SHORT) == short}
        if group:
            seen = next(iter(group.values())).images_seen
            if leads := " ".join(filter(None, _leads(experiment, group))):
                yield f"After {seen:,} images seen: {leads}"
    one, ten, fifty = (f"latent-{dim}" for dim in (1, 10, 50))
    if one in found:
        yield against(one, found, "coverage", [ten, fifty, "latent-100"])
    if ten in found and fifty in found:
        gap = difference(found[fifty], found[ten], "kid")
        if gap is not None and gap >= 0:
            how = "overlap" if gap == 0 else "are the other way round"
            yield f"Not reproduced: that latent 50 is better than latent 10, as their KIDs {how}."
        if found[ten].images_seen < LATENT_TURN:
            yield (
                f"Not asked: the turn of latent 10 after epoch 80, which in the source is {LATENT_TURN:,} images seen."
            )


def _critics(experiment: Experiment, found: Found) -> Iterator[str]:
    yield from _leads(experiment, found)
    lambdas = ["wgan-gp-lambda-half", "wgan-gp-lambda-5", "wgan-gp-lambda-10"]
    steps = ["wgan-gp-steps-1", "wgan-gp-steps-2", "wgan-gp-steps-4", "wgan-gp-lambda-10"]
    for what, names in (("Lambda 0.5, 5, 10", lambdas), ("Critic steps 1, 2, 4, 5", steps)):
        if all(name in found and values(found[name], "kid") for name in names):
            precision, kid = chain(names, found, "precision"), chain(names, found, "kid")
            yield f"{what}: precision {precision}; KID {kid}."
            if names is steps and ">" in precision and ">" in kid:
                yield "There the two disagree: fewer critic steps raise the yield, and more of them lower KID."
    one, dcgan = found.get(steps[0]), found.get("dcgan")
    if one and dcgan and (difference(dcgan, one, "kid") or 0) < 0:
        yield (
            f"At as many steps of the generator, KID is {mean(one, 'kid')} for WGAN-GP with one critic step and "
            f"{mean(dcgan, 'kid')} for DCGAN: that others took fewer steps does not explain DCGAN's lead."
        )
    yield "Not asked: faces, and which samples a person would keep."


def _digits(experiment: Experiment, found: Found) -> Iterator[str]:
    yield from _leads(experiment, found)
    dense, dcgan = found.get("digits-gan"), found.get("digits-dcgan")
    if dense is None or dcgan is None or not values(dcgan, "coverage") or not values(dense, "coverage"):
        return
    if statistics.fmean(values(dcgan, "coverage")) > COLLAPSED_COVERAGE:
        opposite = (difference(dcgan, dense, "coverage") or 0) > 0
        yield (
            f"Not reproduced: a DCGAN that loses classes. Here it covers {mean(dcgan, 'coverage')} of them and the "
            f"vanilla GAN {mean(dense, 'coverage')}{', which contradicts it' if opposite else ''}."
        )


def _colour(experiment: Experiment, found: Found) -> Iterator[str]:
    """Cost by the ratio of sides; speed in images seen, as an epoch of 3,000 images is three of 1,000."""
    for images in ("1000", "3000"):
        small, large = found.get(f"rgb-28-{images}"), found.get(f"rgb-64-{images}")
        if small and large:
            costs = [f"a step at 64 px costs {_ratio(large, small, 'step_ms')} times one at 28 px"]
            if values(small, "source_image_ms") and values(large, "source_image_ms"):
                costs.append(f"in the source's network {_ratio(large, small, 'source_image_ms')} times")
            yield f"With {int(images):,} images {', '.join(costs)}."
    yield from _leads(experiment, found)
    if any(name.endswith("1000") for name in found) and any(name.endswith("3000") for name in found):
        yield (
            "First recognisable epochs do not compare between 1,000 and 3,000 images, as one of the latter's shows "
            "three times as many."
        )
    if any(result.scale == "small" for result in found.values()):
        yield "Not asked: the source's 250 epochs, and the detail that 64 px have over 28."


def _collapse(experiment: Experiment, found: Found) -> Iterator[str]:
    """The answer first; then what each remedy changes against the plain run that it is a change of."""
    plain = found.get("collapse-plain")
    counts = {name: values(result, "collapsed") for name, result in found.items()}
    if plain is None or not counts["collapse-plain"]:
        yield from _leads(experiment, found)
        return
    fell, runs = sum(counts["collapse-plain"]), len(counts["collapse-plain"])
    first = f", and {cell(found['collapse-source'], 'collapsed')} with beta1 0.5" if "collapse-source" in found else ""
    answer = "No" if fell == 0 else "Yes" if fell == runs else "In part"
    yield f"{answer}: {cell(plain, 'collapsed')} plain runs had collapsed by epoch {WATCHED_EPOCH}{first}."
    if fell == 0:
        yield (
            "Not reproduced: the source's collapse. So nothing here shows that a remedy prevents one, only what it "
            "changes in a run that holds."
        )
    remedies = [name for name in found if name not in ("collapse-plain", "collapse-source")]
    for column in ("kid", "diversity_at_35", "coverage_at_35"):
        yield against("collapse-plain", found, column, remedies)
    fallen = [f"{_quoted(name)} ({cell(found[name], 'collapsed')})" for name in remedies if sum(counts[name])]
    if fallen:
        yield f"Collapsed with a remedy: {', '.join(fallen)}."
    if "collapse-source" in found:
        yield f"And beta1 itself: {against('collapse-plain', found, 'kid', ['collapse-source'])}"


def _ratio(one: VariantResult, other: VariantResult, column: str) -> str:
    return f"{statistics.fmean(values(one, column)) / statistics.fmean(values(other, column)):.1f}"


def _quoted(name: str) -> str:
    return f'"{find(name).label}"'  # some labels hold commas of their own


def _scored(found: Found, name: str, column: str) -> str:
    return f"{_quoted(name)} ({mean(found[name], column)})"


READERS: Mapping[str, Callable[[Experiment, Found], Iterator[str]]] = {
    "latent": _latent,
    "critics": _critics,
    "digits": _digits,
    "colour": _colour,
    "rotation": _leads,
    "collapse": _collapse,
}
