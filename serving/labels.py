"""Class names and indices, as people write them, to labels."""

import json
from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from serving.errors import InputError
from serving.latents import Labels

LISTED_CLASSES = 20  # an error names this many classes at most


def label_index(label: int | str, classes: Sequence[str]) -> int:
    """The index of a class given by name or index.

    A name counts as written, then without regard to case; after that digits are an index, so that
    a command line and a URL can give one. Raises InputError that names the nearest class, or all.
    """
    if isinstance(label, str):
        if label in classes:
            return classes.index(label)
        alike = [index for index, name in enumerate(classes) if name.casefold() == label.casefold()]
        if len(alike) == 1:
            return alike[0]
        if not (label.isascii() and label.isdigit() and len(label) < 10):
            raise InputError(f"{_shown(label)} is not a class of this model; {_hint(label, classes)}", "labels")
        label = int(label)
    if not 0 <= label < len(classes):
        raise InputError(
            f"label {str(label)[:20]} is not a class of this model; its labels are 0 to {len(classes) - 1} "
            f"({listed(classes)})",
            "labels",
        )
    return label


def one_label(label: int | str, classes: Sequence[str]) -> int:
    """`label_index`, for a model that may have no classes at all; raises InputError where it has none."""
    if not classes:
        raise InputError("this model has no classes; leave labels out", "labels")
    return label_index(label, classes)


def label_indices(labels: Sequence[int | str] | None, count: int, classes: Sequence[str]) -> Labels | None:
    """One label for each of `count` images, int64 [count], from one for all or one for each.

    None stays None: the caller decides who draws them. Raises InputError for an unknown class, a
    wrong number of labels, and any label where the model has no classes.
    """
    if labels is None:
        return None
    if len(labels) not in (1, count):
        raise InputError(
            f"there are {len(labels)} labels for {count} images; give one for all, or one for each", "labels"
        )
    indices = [one_label(label, classes) for label in labels]
    return np.array(indices * count if len(indices) == 1 else indices, np.int64)


def listed(classes: Sequence[str]) -> str:
    """The class names in a row, the first ones where there are many."""
    rest = len(classes) - LISTED_CLASSES
    return ", ".join(classes[:LISTED_CLASSES]) + (f" and {rest} more" if rest > 0 else "")


def _hint(label: str, classes: Sequence[str]) -> str:
    names = {name.casefold(): name for name in classes}
    nearest = get_close_matches(label.casefold(), names, n=1)
    return f"did you mean {_shown(names[nearest[0]])}?" if nearest else f"its classes are {listed(classes)}"


def _shown(text: str) -> str:
    return json.dumps(text[:40])
