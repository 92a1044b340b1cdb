"""Text summary of the prepared data: classes, skipped and ignored files, and the reasons."""

from collections import Counter
from collections.abc import Sequence

from serving.error_messages import escaped
from training import paths
from training.data.manifest import IgnoredFiles, Manifest

LISTED_CLASSES = 20  # above this, only the first few are listed
FIRST_CLASSES = 8
LISTED_KINDS = 5
LISTED_REASONS = 3
MAX_REASON = 70  # characters


def summary_lines(manifest: Manifest) -> list[str]:
    """Return the lines of the summary."""
    lines = [_classes(manifest)]
    if figures := _dropped(manifest):
        lines.append(f"{escaped(figures)} (see {paths.MANIFEST})")
    if manifest.left_out:
        lines.append(f"left out: {escaped(format_ignored(manifest.left_out))}")
    if enlarged := manifest.counts.enlarged:
        lines.append(f"enlarged: {enlarged} of {manifest.images} pictures, smaller than {manifest.resolution} pixels")
    return [f"  {line}" for line in lines]


def format_ignored(ignored: Sequence[IgnoredFiles]) -> str:
    """Format ignored files by kind: `.txt files (8000), system files (9)`."""
    rest = sum(kind.files for kind in ignored[LISTED_KINDS:])
    listed = ", ".join(f"{kind.kind} ({kind.files})" for kind in ignored[:LISTED_KINDS])
    return f"{listed}, others ({rest})" if rest else listed


def _classes(manifest: Manifest) -> str:
    """Format the classes: `classes: cat (6), dog (6)`; of many, the first ones and the range of counts."""
    if not manifest.classes:
        return "classes: none"
    counts = manifest.images_per_class
    shown = manifest.classes if len(counts) <= LISTED_CLASSES else manifest.classes[:FIRST_CLASSES]
    listed = ", ".join(f"{escaped(name)} ({counts[name]})" for name in shown)
    if rest := len(counts) - len(shown):
        few, many = min(counts.values()), max(counts.values())
        listed += f" and {rest} more; {few} to {many} images each"
    return f"classes: {listed}{_numeric_names_hint(manifest.classes)}"


def _numeric_names_hint(classes: Sequence[str]) -> str:
    """Warn about class names that are numbers but not their own index."""
    misleading = [
        name for index, name in enumerate(classes) if name.isascii() and name.isdigit() and int(name) != index
    ]
    if not misleading:
        return ""
    name = misleading[0]
    return f'\n  names that are numbers: ask the service for "{name}" in quotes; a bare number counts classes from 0'


def _dropped(manifest: Manifest) -> str:
    """Format the counts of unused files: `3 skipped (2 empty file, 1 too small: ...), 12 untagged`; may be empty."""
    counts = manifest.counts
    figures = {
        f"skipped ({_reasons(manifest)})": counts.skipped,
        "untagged": counts.untagged,
        "with unknown tags": sum(counts.unknown_tags.values()),
        "unknown files tagged": counts.unknown_files,
        "beyond data.limit": counts.beyond_limit,
        f"empty classes ({', '.join(manifest.empty_classes[:LISTED_REASONS])})": len(manifest.empty_classes),
    }
    return ", ".join(f"{count} {text}" for text, count in figures.items() if count)


def _reasons(manifest: Manifest) -> str:
    reasons = Counter(skip.reason[:MAX_REASON] for skip in manifest.skipped).most_common()
    listed = "; ".join(f"{count} {reason}" for reason, count in reasons[:LISTED_REASONS])
    return f"{listed}; ..." if len(reasons) > LISTED_REASONS else listed
