"""Cross-field rules: conflicting parameters give one sentence, and its remedies work."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.training.project import FAMILIES, tiny, tiny_params, write_params
from training.params import ParamsError, load_params

Sections = dict[str, dict[str, Any]]


class Case(NamedTuple):
    """Conflicting values, the error message, and each remedy that it names."""

    values: Sections
    message: str
    remedies: list[Sections]


def network(family: str, **values: Any) -> Sections:
    return {"network": FAMILIES[family] | values}


def objective(name: str, **values: Any) -> Sections:
    return {"objective": {"name": name} | values}


BATCH_NORM = {"network": {"discriminator_norm": "batch"}}
NO_NORM = [{"network": {"discriminator_norm": "none"}}]
IMAGE_BY_IMAGE = (
    "objective.{} is taken image by image, and batch norm lets the images of a batch see one another "
    "(Gulrajani et al. 2017, section 4); set network.discriminator_norm to none"
)
MINIBATCH_STD = (
    "objective.{} is taken image by image, and the minibatch standard deviation lets the images of a batch see one "
    "another; set network.minibatch_std to false"
)
NO_LABELS = "stabilise.{} changes the labels real and fake, and {} has none; set it to 0"
CLIPPED = {"weight_clip": 0.01}
CASES = {
    "dcgan without a kernel": Case(
        network("dcgan-4", kernel=None),
        "network.kernel is null and network.name is dcgan; set kernel to 4 or 5",
        [{"network": {"kernel": 4}}, {"network": {"kernel": 5}}],
    ),
    **{
        f"{family} with a kernel": Case(
            network(family, kernel=5),
            f"network.kernel is 5 and network.name is {family}; set kernel to null",
            [{"network": {"kernel": None}}],
        )
        for family in ("dense", "upsampling", "residual")
    },
    **{
        f"{family} with a depth": Case(
            network(family, depth=3),
            f"network.depth is for dense and residual; {family.removesuffix('-4')} is as deep as its resolution: "
            "set it to null",
            [{"network": {"depth": None}}],
        )
        for family in ("dcgan-4", "upsampling")
    },
    **{
        f"{family} with {norm} norm": Case(
            network(family, discriminator_norm=norm),
            f"network.discriminator_norm is for dcgan; a {family} discriminator has no norm: set it to none",
            NO_NORM,
        )
        for family, norm in (("dense", "batch"), ("upsampling", "batch-everywhere"), ("residual", "batch"))
    },
    "residual with spectral norm": Case(
        network("residual", spectral_norm=True),
        "network.spectral_norm divides by a weight's size, and residual blocks start at zero; set it to false",
        [{"network": {"spectral_norm": False}}],
    ),
    **{
        f"residual with a {part} of any width": Case(
            network("residual", **{f"{part}_width": 12}),
            f"network.{part}_width is 12; a residual network takes multiples of 8",
            [{"network": {f"{part}_width": 16}}, {"network": {f"{part}_width": 8}}],
        )
        for part in ("generator", "discriminator")
    },
    "widths of a family that has none": Case(
        network("dense", widths=[8, 8, 8]),
        "network.widths is for residual; the layers of dense follow from its two widths: set it to null",
        [{"network": {"widths": None}}],
    ),
    **{
        f"{family} at 512 px": Case(
            network(family) | {"data": {"resolution": 512}},
            f"data.resolution 512 is for dcgan, residual, projected; a {family} network has layers that are too large "
            "for it: set network.name to one of them, or data.resolution to 256 or less",
            [{"data": {"resolution": 256}}],
        )
        for family in ("dense", "upsampling")
    },
    "fewer widths than resolutions": Case(
        network("residual", widths=[16, 8]),
        "network.widths has 2 numbers and 28 px has 3 resolutions (7, 14, 28); give one number each",
        [{"network": {"widths": [16, 16, 8]}}, {"network": {"widths": None}}],
    ),
    "more widths than sizes of a rectangle": Case(
        network("residual", widths=[16, 16, 16, 16, 8, 8]) | {"data": {"resolution": "96x64"}},
        "network.widths has 6 numbers and 96x64 px has 5 resolutions (6x4, 12x8, 24x16, 48x32, 96x64); "
        "give one number each",
        [{"network": {"widths": [16, 16, 16, 16, 8]}}, {"network": {"widths": None}}],
    ),
    "widths that cannot be cut into groups": Case(
        network("residual", widths=[16, 12, 8]),
        "network.widths holds 12; a residual network takes multiples of 8",
        [{"network": {"widths": [16, 16, 8]}}],
    ),
    **{
        f"{penalty} with batch norm": Case(
            {"objective": {penalty: 1.0}} | BATCH_NORM, IMAGE_BY_IMAGE.format(penalty), NO_NORM
        )
        for penalty in ("gradient_penalty", "r1", "r2")
    },
    **{
        f"{penalty} with the minibatch standard deviation": Case(
            {"objective": {penalty: 1.0}, "network": {"minibatch_std": True}},
            MINIBATCH_STD.format(penalty),
            [{"network": {"minibatch_std": False}}],
        )
        for penalty in ("gradient_penalty", "r1", "r2")
    },
    "r1 with batch norm everywhere": Case(
        {"objective": {"r1": 1.0}, "network": {"discriminator_norm": "batch-everywhere"}},
        IMAGE_BY_IMAGE.format("r1"),
        NO_NORM,
    ),
    **{
        f"{name} with a weight clip": Case(
            objective(name, weight_clip=0.01),
            "objective.weight_clip bounds the critic of wasserstein and would only cripple the discriminator of "
            f"{name}; set it to null",
            [{"objective": {"weight_clip": None}}],
        )
        for name in ("saturating", "non-saturating", "least-squares", "hinge", "relativistic")
    },
    "weight clip and gradient penalty": Case(
        objective("wasserstein", **CLIPPED, gradient_penalty=10.0),
        "objective.weight_clip and objective.gradient_penalty bound the critic twice; keep one of them",
        [{"objective": {"weight_clip": None}}, {"objective": {"gradient_penalty": 0.0}}],
    ),
    "weight clip and spectral norm": Case(
        objective("wasserstein", **CLIPPED) | {"network": {"spectral_norm": True, "condition": "none"}},
        "objective.weight_clip and network.spectral_norm bound the critic twice; keep one of them",
        [{"objective": {"weight_clip": None}}, {"network": {"spectral_norm": False}}],
    ),
    "wasserstein without a bound": Case(
        objective("wasserstein"),
        "objective wasserstein needs a bound on its critic, whose scores grow for ever otherwise; "
        "set objective.gradient_penalty to 10 or objective.weight_clip to 0.01",
        [{"objective": {"gradient_penalty": 10.0}}, {"objective": CLIPPED}],
    ),
    **{
        f"mismatched with {condition}": Case(
            {"objective": {"mismatched": True}, "network": {"condition": condition}},
            "objective.mismatched shows the discriminator wrong classes; set network.condition to projection",
            [{"network": {"condition": "projection"}}],
        )
        for condition in ("none", "auxiliary")
    },
    **{
        f"mismatched with {name}": Case(
            {"objective": {"name": name, "mismatched": True} | bound},
            f"objective.mismatched calls real images with a wrong class fake, and {name} calls nothing fake; "
            "set it to false, or objective.name to non-saturating",
            [{"objective": {"mismatched": False}}, {"objective": {"name": "non-saturating"}}],
        )
        for name, bound in (("wasserstein", {"gradient_penalty": 10.0}), ("relativistic", {}))
    },
    **{
        f"ada with {name}": Case(
            {"objective": {"name": name} | bound, "stabilise": {"augment": "ada"}},
            f"ada steers by the sign of D(real), which says nothing under {name}; set stabilise.augment to diffaugment",
            [{"stabilise": {"augment": "diffaugment"}}],
        )
        for name, bound in (("wasserstein", CLIPPED), ("relativistic", {}))
    },
    **{
        f"{label} with {name}": Case(
            {"objective": {"name": name} | bound, "stabilise": {label: 0.1}},
            NO_LABELS.format(label, name),
            [{"stabilise": {label: 0.0}}],
        )
        for label in ("label_flip", "label_smoothing", "label_noise")
        for name, bound in (("wasserstein", CLIPPED), ("relativistic", {}))
    },
    "noise that never fades": Case(
        {"stabilise": {"instance_noise": 0.1}},
        "stabilise.instance_noise has to fade out; set stabilise.instance_noise_kimg to when it is gone",
        [{"stabilise": {"instance_noise_kimg": 5.0}}],
    ),
    **{
        f"packing with {condition}": Case(
            {"stabilise": {"packing": 2}, "network": {"condition": condition}},
            "stabilise.packing joins images of different classes into one; "
            "set network.condition to none, or stabilise.packing to 1",
            [{"network": {"condition": "none"}}, {"stabilise": {"packing": 1}}],
        )
        for condition in ("projection", "auxiliary")
    },
    "a batch that cannot be packed": Case(
        {"stabilise": {"packing": 3}, "network": {"condition": "none"}},
        "train.batch 8 is no multiple of stabilise.packing 3; change one",
        [{"stabilise": {"packing": 4}}, {"train": {"batch": 9}}],
    ),
    "a batch larger than the data": Case(
        {"data": {"limit": 7}},
        "train.batch 8 is larger than data.limit 7; lower train.batch",
        [{"train": {"batch": 7}}],
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def load_error(folder: Path, values: Sections) -> str:
    path = write_params(folder, **tiny(**values))
    with pytest.raises(ParamsError) as error:
        load_params(path)
    return str(error.value).removeprefix(f"{path}: ")


def changed(values: Sections, remedy: Sections) -> Sections:
    return {name: values.get(name, {}) | remedy.get(name, {}) for name in values | remedy}


def test_the_base_parameters_of_the_cases_are_valid() -> None:
    assert tiny_params() == tiny_params(train={"batch": 8}, objective={"name": "non-saturating"})
    for family in FAMILIES:
        tiny_params(**network(family))


@every_case
def test_conflicting_values_are_refused_with_a_sentence(tmp_path: Path, case: Case) -> None:
    assert load_error(tmp_path, case.values) == case.message


@every_case
def test_each_sentence_names_remedies_that_work(case: Case) -> None:
    for remedy in case.remedies:
        for section, values in remedy.items():
            for key in values:
                assert f"{section}.{key}" in case.message
        tiny_params(**changed(case.values, remedy))


def test_several_conflicts_are_resolved_by_following_one_sentence_after_the_other(tmp_path: Path) -> None:
    values: Sections = BATCH_NORM | objective("wasserstein") | {"stabilise": {"label_flip": 0.1}}
    messages = []
    for remedy in (
        {"objective": {"gradient_penalty": 10.0}},
        {"network": {"discriminator_norm": "none"}},
        {"stabilise": {"label_flip": 0.0}},
    ):
        messages.append(load_error(tmp_path, values))
        values = changed(values, remedy)
    tiny_params(**values)
    assert messages[0] == CASES["wasserstein without a bound"].message
    assert messages[1] == CASES["gradient_penalty with batch norm"].message
    assert messages[2] == CASES["label_flip with wasserstein"].message


@pytest.mark.parametrize(
    "values",
    [
        *(
            objective("wasserstein") | {"network": {"spectral_norm": True, "condition": condition}}
            for condition in ("none", "projection", "auxiliary")
        ),
        objective("wasserstein", r1=1.0),
        objective("wasserstein", **CLIPPED) | BATCH_NORM,
        objective("hinge") | {"stabilise": {"label_smoothing": 0.1}},
        objective("relativistic", r1=1.0, r2=1.0) | network("residual", depth=1),
        network("residual", minibatch_std=True),
        network("dense", depth=1, spectral_norm=True),
        {"stabilise": {"instance_noise_kimg": 5.0}},
        {"data": {"limit": 8}},
    ],
)
def test_compatible_values_are_accepted(values: Sections) -> None:
    accepted = tiny_params(**values).model_dump()
    for section, changes in values.items():
        assert accepted[section] | changes == accepted[section]
