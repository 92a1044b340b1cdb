"""The code that trains and measures a run: a result that is kept belongs to it alone."""

import hashlib
from pathlib import Path

from training import checkpoint

MEASURING = ("classifier.py", "evaluate.py", "export.py", "features.py", "metrics.py")  # beside checkpoint.CODE


def code_digest() -> str:
    """The SHA-256 of the modules that shape a run and its figures."""
    digest = hashlib.sha256()
    here = Path(checkpoint.__file__).parent
    for path in sorted(path for pattern in (*checkpoint.CODE, *MEASURING) for path in here.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
