"""Report of `mint doctor`: what a log holds, what is wrong and since when, and what helps."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from training.doctor.advice import ADVICE
from training.doctor.diagnosis import diagnose
from training.log_files import Log

STEPS = 1000  # of a log in one of its trace's `kimg`
MIN_ROWS = 10  # fewer say little


def report(path: Path, log: Log) -> Iterator[str]:
    """Yield the lines of the report."""
    trace = log.trace
    first, last = (round(trace.kimg[index] * STEPS) for index in (0, -1))
    columns = ", ".join(name if name == column else f"{name} ({column})" for name, column in log.columns.items())
    yield f"{path}: {len(trace)} rows, steps {first:,} to {last:,}; {columns}"
    if len(trace) < MIN_ROWS:
        yield f"fewer than {MIN_ROWS} rows say little; run it again later"
    for metric in ("fid", "kid"):
        values = trace[metric]
        if np.isfinite(values).any():
            best = int(np.nanargmin(values))
            now = values[np.isfinite(values)][-1]
            yield f"best {metric.upper()} {values[best]:.4g} at step {round(trace.kimg[best] * STEPS):,}, now {now:.4g}"
    finding = diagnose(trace)
    if finding is None:
        yield "healthy: none of the signs of failure that this log can show"
        return
    advice = ADVICE[finding.name]
    yield (
        f"{finding.name} since step {round(finding.since * STEPS):,} (confidence {finding.confidence:.0%}): "
        f"{', '.join(finding.evidence)}"
    )
    yield f"  {advice.meaning}"
    yield f"  what helps, mildest first: {'; '.join(advice.helps)}"
