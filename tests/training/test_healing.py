"""Healing: which parameters are changed against a failure, in which order, and when nothing is left to change."""

from typing import Any

import pytest

from tests.training.project import tiny_params
from training.doctor.advice import ADVICE
from training.doctor.diagnosis import RULES, Finding
from training.healing import MAX_ACTS, Act, choose_remedy, usable
from training.monitor import current_rows
from training.params import Params


def finding(name: str) -> Finding:
    return Finding(name, since=10.0, confidence=0.5, evidence=())


def acts_until_nothing_is_left(name: str, params: Params) -> list[dict[str, Any]]:
    """All changes against one failure, one after the other."""
    acts: list[Act] = []
    while (remedy := choose_remedy(finding(name), params, acts)) is not None:
        params = remedy.params
        acts.append(Act(20.0, name, 10.0, remedy.rung, remedy.values, back_to=None))
    return [act.values for act in acts]


def test_a_rate_that_is_far_too_high_is_lowered_first() -> None:
    params = tiny_params(train={"generator_lr": 1e-3, "discriminator_lr": 5e-2})
    for name in ("discriminator dominates", "mode collapse", "oscillation"):
        remedy = choose_remedy(finding(name), params, [])
        assert remedy is not None
        assert set(remedy.values) <= {f"train.{key}" for key in ("generator_lr", "discriminator_lr", "beta1")}
        assert remedy.params.train.discriminator_lr <= 1e-3
        assert remedy.params.train.generator_lr <= 1e-3
        assert remedy.params.network == params.network


def test_a_change_is_not_made_twice() -> None:
    made = acts_until_nothing_is_left("discriminator overfits", tiny_params())
    assert made[0] == {"stabilise.augment": "diffaugment"}
    assert len({str(values) for values in made}) == len(made)


@pytest.mark.parametrize("name", sorted({rule.name for rule in RULES}))
def test_there_is_a_remedy_for_every_failure_and_an_end_to_them(name: str) -> None:
    made = acts_until_nothing_is_left(name, tiny_params())
    assert 1 <= len(made) <= MAX_ACTS


@pytest.mark.parametrize(
    ("name", "changes", "rung"),
    [
        ("discriminator dominates", {"train": {"generator_lr": 1e-3, "discriminator_lr": 5e-2}}, "equal rates"),
        ("partial collapse", {"network": {"latent_dim": 1}}, "larger latent"),
        ("generator dominates", {"network": {"generator_width": 32, "discriminator_width": 4}}, "wider discriminator"),
        ("discriminator dominates", {"train": {"generator_lr": 1e-4, "discriminator_lr": 4e-4}}, None),
        ("generator dominates", {"network": {"generator_width": 32, "discriminator_width": 16}}, None),
        ("mode collapse", {"network": {"latent_dim": 8}}, None),
    ],
)
def test_on_a_suspicion_only_what_is_far_out_of_proportion_is_changed(
    name: str, changes: dict[str, Any], rung: str | None
) -> None:
    params = tiny_params(**changes)
    assert choose_remedy(finding(name), params, []) is not None
    suspected = choose_remedy(finding(name), params, [], suspected=True)
    assert (suspected and suspected.rung) == rung


def test_weights_are_taken_back_unless_the_failure_has_spoilt_them() -> None:
    assert usable(9.0, finding("mode collapse"))
    assert not usable(11.0, finding("mode collapse"))
    assert usable(11.0, finding("discriminator overfits"))


@pytest.mark.parametrize(
    ("values", "since", "kept"),
    [
        ({"train.generator_lr": 5e-4}, 60.0, [10.0, 20.0, 30.0, 40.0, 90.0]),
        ({"train.generator_lr": 5e-4}, 30.0, [10.0, 20.0, 90.0]),
        ({"network.latent_dim": 64}, 60.0, [90.0]),
    ],
    ids=["up to the checkpoint", "up to the failure", "none of other networks"],
)
def test_rows_of_weights_that_are_gone_and_of_a_failure_that_was_acted_on_are_not_judged_again(
    values: dict[str, Any], since: float, kept: list[float]
) -> None:
    rows = [{"kimg": float(kimg)} for kimg in range(10, 100, 10)]
    act = Act(80.0, "discriminator overfits", since, "rung", values, back_to=40.0)
    assert [row["kimg"] for row in current_rows(rows, [act])] == kept


def test_a_change_of_the_networks_is_known() -> None:
    remedy = choose_remedy(finding("labels do not match"), tiny_params(), [])
    assert remedy is not None
    assert remedy.values == {"network.condition": "none"}
    assert remedy.changes_networks
    remedy = choose_remedy(finding("discriminator overfits"), tiny_params(), [])
    assert remedy is not None
    assert not remedy.changes_networks


def test_what_does_not_go_together_is_left_out() -> None:
    """Batch norm in the discriminator rules out R1 and R2."""
    with_norm = tiny_params(network={"discriminator_norm": "batch"})
    made = acts_until_nothing_is_left("discriminator dominates", with_norm)
    assert not any("objective.r1" in values for values in made)
    made = acts_until_nothing_is_left("discriminator dominates", tiny_params())
    assert any("objective.r1" in values for values in made)


def test_every_diagnosis_has_advice_in_words() -> None:
    assert {rule.name for rule in RULES} <= set(ADVICE)
