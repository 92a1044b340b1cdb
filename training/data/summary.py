"""The prepared data in a few lines that a person can check: the classes, what was left out, and why."""

from collections import Counter
from collections.abc import Sequence

from serving.quoting import visible
from training import paths
from training.data.manifest import IgnoredFiles, Manifest

LISTED_CLASSES = 20  # of more, the first few stand for all
FIRST_CLASSES = 8
LISTED_KINDS = 5
LISTED_REASONS = 3
MAX_REASON = 70  # characters


def summary(manifest: Manifest) -> list[str]:
    """One line for each thing that there is to say."""
    lines = [_classes(manifest)]
    if figures := _not_images(manifest):
        lines.append(f"{visible(figures)} (see {paths.MANIFEST})")
    if manifest.left_out:
        lines.append(f"left out: {visible(listed_kinds(manifest.left_out))}")
    if enlarged := manifest.counts.enlarged:
        lines.append(f"enlarged: {enlarged} of {manifest.images} pictures, smaller than {manifest.resolution} pixels")
    return [f"  {line}" for line in lines]


def listed_kinds(left_out: Sequence[IgnoredFiles]) -> str:
    """`.txt files (8000), system files (9)`."""
    rest = sum(kind.files for kind in left_out[LISTED_KINDS:])
    listed = ", ".join(f"{kind.kind} ({kind.files})" for kind in left_out[:LISTED_KINDS])
    return f"{listed}, others ({rest})" if rest else listed


def _classes(manifest: Manifest) -> str:
    """`classes: cat (6), dog (6)`; of many the first, and between which counts the others lie."""
    if not manifest.classes:
        return "classes: none"
    counts = manifest.images_per_class
    shown = manifest.classes if len(counts) <= LISTED_CLASSES else manifest.classes[:FIRST_CLASSES]
    listed = ", ".join(f"{visible(name)} ({counts[name]})" for name in shown)
    if rest := len(counts) - len(shown):
        few, many = min(counts.values()), max(counts.values())
        listed += f" and {rest} more; {few} to {many} images each"
    return f"classes: {listed}{_numbers(manifest.classes)}"


def _numbers(classes: Sequence[str]) -> str:
    """A warning where the classes' names are numbers and not the ones by which they are counted."""
    misleading = [
        name for index, name in enumerate(classes) if name.isascii() and name.isdigit() and int(name) != index
    ]
    if not misleading:
        return ""
    name = misleading[0]
    return f'\n  names that are numbers: ask the service for "{name}" in quotes; a bare number counts classes from 0'


def _not_images(manifest: Manifest) -> str:
    """`3 skipped (2 empty file, 1 too small: ...), 12 untagged`; empty where there is nothing to tell."""
    counts = manifest.counts
    figures = {
        f"skipped ({_reasons(manifest)})": counts.skipped,
        "untagged": counts.untagged,
        "with unknown tags": sum(counts.unknown_tags.values()),
        "unknown files tagged": counts.unknown_files,
        "beyond data.limit": counts.beyond_limit,
        f"empty classes ({', '.join(manifest.empty_classes[:LISTED_REASONS])})": len(manifest.empty_classes),
    }
    return ", ".join(f"{count} {what}" for what, count in figures.items() if count)


def _reasons(manifest: Manifest) -> str:
    reasons = Counter(skip.reason[:MAX_REASON] for skip in manifest.skipped).most_common()
    listed = "; ".join(f"{count} {reason}" for reason, count in reasons[:LISTED_REASONS])
    return f"{listed}; ..." if len(reasons) > LISTED_REASONS else listed
