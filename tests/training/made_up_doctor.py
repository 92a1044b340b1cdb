"""Stand-ins for probes, diagnosis and remedies, so that tests of a run decide what a run looks like, and when."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from training.doctor.diagnosis import EXPLOSION, Finding
from training.doctor.trace import Trace
from training.gan.trainer import GANTrainer

FAILURE = "mode collapse"
BAD_KID = 0.5  # above it, the stand-in for diagnosis finds FAILURE
SUSPECT_KID = 0.4  # above it, it suspects FAILURE
NOTHING_ELSE: tuple[str, dict[str, Any]] = ("nothing", {})  # but going back
SLOWER = ("slower", {"train.generator_lr": 5e-4})
MIRRORED = ("mirror", {"train.horizontal_flip": 1.0})
OTHER_NETWORKS = ("larger latent", {"network.latent_dim": 16, "network.condition": "none"})
Rungs = Sequence[tuple[str, Mapping[str, Any]]]


def install(patch: pytest.MonkeyPatch, kid: Callable[[int], float], rungs: Rungs = ()) -> None:
    """Let probes measure kid(steps), let a KID above BAD_KID be a failure, and let `rungs` be the remedies."""

    class MadeUpProbes:
        def __init__(self, *_: object) -> None:
            pass

        def measure(self, gan: GANTrainer) -> dict[str, float]:
            return {"kid": kid(gan.steps), "kid_std": 0.05}

    patch.setattr("training.monitor.Probes", MadeUpProbes)
    patch.setattr("training.monitor.diagnose", diagnose)
    patch.setattr("training.healing.ladder", lambda failure, known: iter(rungs))
    patch.setattr("training.healing.early_ladder", lambda failure, known: iter(rungs[1:]))


def diagnose(trace: Trace, share: float = 1.0) -> Finding | None:
    """An explosion after a row that says so, FAILURE after a bad KID. share: below 1 for a suspicion."""
    if not len(trace):
        return None
    now = float(trace.kimg[-1])
    if trace["exploded"][-1] > 0:
        return Finding(EXPLOSION, now, 0.75, ())
    limit = BAD_KID if share == 1 else SUSPECT_KID
    return Finding(FAILURE, now, 0.75, (f"kid {trace['kid'][-1]:.3g}",)) if trace["kid"][-1] > limit else None
