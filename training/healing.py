"""Healing of a run: the change of parameters that the doctor's ladder names, and which of them is tried next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.doctor.diagnosis import Finding
from training.doctor.remedies import Values, ladder
from training.params import Params, ParamsError, changed_params

MAX_ACTS = 5  # of one run; a run that needs more should be looked at by a person
NETWORKS = ("network.", "stabilise.packing")  # starts of the keys that weights depend on


@dataclass(frozen=True)
class Remedy:
    """A change of parameters by dotted key, and the parameters with it. rung: its name on the ladder."""

    rung: str
    values: Values
    params: Params

    @property
    def changes_networks(self) -> bool:
        """True if weights of before do not fit, so that training has to start again."""
        return any(key.startswith(NETWORKS) for key in self.values)


@dataclass(frozen=True)
class Act:
    """What was done to a run. back_to: kimg of the checkpoint whose weights it got; None for new ones."""

    kimg: float
    failure: str
    rung: str
    values: Values
    back_to: float | None


def choose_remedy(finding: Finding, params: Params, acts: Sequence[Act], restart: bool = True) -> Remedy | None:
    """The mildest change that works with the other parameters and was not made before.

    restart: whether there is time to train new networks. None when nothing is left, or after MAX_ACTS.
    """
    if len(acts) >= MAX_ACTS:
        return None
    taken = {act.rung for act in acts}
    for rung, values in ladder(finding.name, _known_values(params)):
        if rung not in taken:
            try:
                remedy = Remedy(rung, values, changed_params(params, values))
            except ParamsError:
                continue
            if restart or not remedy.changes_networks:
                return remedy
    return None


def _known_values(params: Params) -> dict[str, dict[str, Any]]:
    """What a remedy may depend on: not the images' source, nor anything that is done after training."""
    return {
        "data": {"resolution": params.data.resolution},
        "network": dict(params.network),
        "objective": dict(params.objective),
        "stabilise": dict(params.stabilise),
        "train": dict(params.train),
    }
