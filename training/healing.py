"""Healing of a run: the change of parameters that the doctor's ladder names, and which of them is tried next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.doctor.diagnosis import EXPLOSION, Finding
from training.doctor.remedies import Values, early_ladder, ladder
from training.params import Params, ParamsError, changed_params

MAX_ACTS = 5  # of one run; a run that needs more should be looked at by a person
NETWORKS = ("network.", "stabilise.packing")  # starts of the keys that weights depend on
SPOILING = (EXPLOSION, "discriminator dominates", "mode collapse", "oscillation")  # after which weights are of no use


@dataclass(frozen=True)
class Remedy:
    """A change of parameters by dotted key, and the parameters with it. rung: its name on the ladder."""

    rung: str
    values: Values
    params: Params

    @property
    def changes_networks(self) -> bool:
        """True if not all weights of before fit."""
        return change_networks(self.values)


@dataclass(frozen=True)
class Act:
    """What was done to a run. back_to: kimg of the checkpoint whose weights it got, or what fits; None: new ones.

    since: kimg of the first row that showed the failure.
    """

    kimg: float
    failure: str
    since: float
    rung: str
    values: Values
    back_to: float | None

    @property
    def changed_networks(self) -> bool:
        """True if not all weights of before fitted."""
        return change_networks(self.values)


def choose_remedy(
    finding: Finding, params: Params, acts: Sequence[Act], restart: bool = True, suspected: bool = False
) -> Remedy | None:
    """The mildest change that works with the other parameters and was not made before.

    restart: whether there is time to train other networks. suspected: whether the failure is not certain yet, so that
    only what is far out of proportion is changed. None when nothing is left, or after MAX_ACTS.
    """
    if len(acts) >= MAX_ACTS:
        return None
    taken = {act.rung for act in acts}
    rungs = early_ladder if suspected else ladder
    for rung, values in rungs(finding.name, _known_values(params)):
        if rung not in taken:
            try:
                remedy = Remedy(rung, values, changed_params(params, values))
            except ParamsError:
                continue
            if restart or not remedy.changes_networks:
                return remedy
    return None


def usable(kimg: float, finding: Finding) -> bool:
    """True if the weights of a checkpoint are worth going back to: those from before a failure that spoils them."""
    return kimg < finding.since or finding.name not in SPOILING


def change_networks(values: Values) -> bool:
    """True if a change of parameters makes other networks, which not all weights of before fit."""
    return any(key.startswith(NETWORKS) for key in values)


def _known_values(params: Params) -> dict[str, dict[str, Any]]:
    """What a remedy may depend on: not the images' source, nor anything that is done after training."""
    return {
        "data": {"resolution": params.data.resolution},
        "network": dict(params.network),
        "objective": dict(params.objective),
        "stabilise": dict(params.stabilise),
        "train": dict(params.train),
    }
