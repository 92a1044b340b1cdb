"""Diagnosis of a run from its trace: what is wrong, since when, how sure that is, and by what measurements."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.doctor import signs
from training.doctor.trace import Series, Trace, streak

HEALTHY = "healthy"
EXPLOSION = "explosion"  # of which one row is enough
MAX_CONFIDENCE = 0.99


@dataclass(frozen=True)
class Finding:
    """A failure that a trace shows. since: kimg of the first row that shows it; confidence: 0..1."""

    name: str
    since: float
    confidence: float
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """A failure, and the sign that has to last for `patience` rows."""

    name: str
    sign: Callable[[Trace], Series]
    patience: int
    evidence: tuple[str, ...]  # measurements that show it
    looks_back: int = signs.SMOOTHED - 1  # rows before its own that the sign at a row is made of, at least

    def find(self, trace: Trace, share: float) -> Finding | None:
        """The finding at the end of the trace, if there is one. share: of `patience` that is enough.

        Confidence is one half when the sign has lasted for `patience` rows, and grows with every further one.
        """
        with np.errstate(invalid="ignore"):
            rows = streak(self.sign(trace) >= 1)
        if rows < share * self.patience:
            return None
        confidence = min(MAX_CONFIDENCE, 1 - 0.5 ** (rows / self.patience))
        return Finding(
            self.name,
            float(trace.kimg[max(0, len(trace) - rows - self.looks_back)]),
            confidence,
            tuple(self._shown(trace)),
        )

    def _shown(self, trace: Trace) -> list[str]:
        last = {name: trace[name][-1] for name in self.evidence}
        return [f"{name} {value:.3g}" for name, value in last.items() if np.isfinite(value)]


# The first that holds is the diagnosis: causes before their consequences, the certain before the likely.
RULES = (
    Rule(EXPLOSION, signs.not_a_number, 1, (), looks_back=0),
    Rule(EXPLOSION, signs.exploding, 3, ("g_gradient", "d_gradient", "d_loss", "g_loss")),
    Rule("labels do not match", signs.mislabelled, 2, ("classifier_accuracy", "class_chance"), looks_back=0),
    Rule("discriminator dominates", signs.outrunning, 4, ("d_weights", "g_weights", "d_loss", "g_loss")),
    Rule("discriminator dominates", signs.confident, 3, ("d_real", "d_fake", "d_loss", "g_loss")),
    Rule("oscillation", signs.unsteady, 3, ("d_loss", "d_loss_std", "kid")),
    Rule("mode collapse", signs.blank, 4, ("diversity", "pixel_diversity", "kid")),
    Rule("mode collapse", signs.collapsed, 1, ("diversity", "pixel_diversity", "kid")),
    Rule("memorising", signs.copied, 3, ("copies",)),
    Rule("discriminator overfits", signs.overfitted, 2, ("d_training_logit", "d_held_out_logit", "d_generated_logit")),
    Rule("generator dominates", signs.indifferent, 2, ("d_real", "d_fake", "kid")),
    Rule("partial collapse", signs.repeated, 2, ("duplicates", "recall", "kid")),
    Rule("partial collapse", signs.less_varied, 3, ("diversity", "pixel_diversity", "recall")),
    Rule("oscillation", signs.worse_than_best, 3, ("kid", "fid", "d_loss_std")),
    Rule("plateau", signs.quiet, 1, ("kid", "recall", "diversity")),
)


def diagnose(trace: Trace, share: float = 1.0) -> Finding | None:
    """The failure that a trace shows at its end; None for a healthy one.

    share: of the time that its sign has to last; with less than 1 it is a suspicion.
    """
    if not len(trace):
        return None
    return next((finding for rule in RULES if (finding := rule.find(trace, share)) is not None), None)
