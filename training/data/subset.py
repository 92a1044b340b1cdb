"""Stratified subsampling for data.limit: every class keeps its proportion."""

import heapq
from collections import defaultdict

from training.data.manifest import DataError
from training.data.sources.base import Item


def stratified_subset(items: list[Item], limit: int | None) -> list[Item]:
    """Choose at most `limit` items, in order: classes in proportion, evenly spaced within each.

    Deterministic. Raises DataError for a limit below the number of classes.
    """
    if limit is None or limit >= len(items):
        return items
    by_class = defaultdict(list)
    for position, item in enumerate(items):
        by_class[item.label].append(position)
    if limit < len(by_class):
        raise DataError(f"params.yaml: data.limit = {limit} is less than the {len(by_class)} classes; raise it")
    counts = proportional_counts([len(members) for members in by_class.values()], limit)
    chosen = sorted(
        members[index * len(members) // count]
        for members, count in zip(by_class.values(), counts, strict=True)
        for index in range(count)
    )
    return [items[position] for position in chosen]


def proportional_counts(sizes: list[int], total: int) -> list[int]:
    """Split `total` (len(sizes) .. sum(sizes)) in proportion to the sizes, at least 1 and at most its size each."""
    counts = [1] * len(sizes)
    # Each further item goes to the class that is furthest below its proportion.
    waiting = [(1 / size, group) for group, size in enumerate(sizes) if size > 1]
    heapq.heapify(waiting)
    for _ in range(total - len(sizes)):
        _, group = heapq.heappop(waiting)
        counts[group] += 1
        if counts[group] < sizes[group]:
            heapq.heappush(waiting, (counts[group] / sizes[group], group))
    return counts
