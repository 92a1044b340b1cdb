"""data.limit: fewer images than the source holds, without losing a class."""

import heapq
from collections import defaultdict

from training.data.manifest import DataError
from training.data.sources.base import Item


def stratified_subset(items: list[Item], limit: int | None) -> list[Item]:
    """At most `limit` items in their order: every class in its proportion, evenly spaced within each.

    The same items whenever it is called. Raises DataError for a limit that some class would not survive.
    """
    if limit is None or limit >= len(items):
        return items
    by_class = defaultdict(list)
    for position, item in enumerate(items):
        by_class[item.label].append(position)
    if limit < len(by_class):
        raise DataError(f"params.yaml: data.limit = {limit} is less than the {len(by_class)} classes; raise it")
    shares = proportional_shares([len(members) for members in by_class.values()], limit)
    chosen = sorted(
        members[index * len(members) // share]
        for members, share in zip(by_class.values(), shares, strict=True)
        for index in range(share)
    )
    return [items[position] for position in chosen]


def proportional_shares(sizes: list[int], total: int) -> list[int]:
    """Splits `total` (len(sizes) .. sum(sizes)) in proportion to the sizes; each gets at least 1, at most its size."""
    shares = [1] * len(sizes)
    # The next one goes to whoever is furthest below its proportion.
    waiting = [(1 / size, which) for which, size in enumerate(sizes) if size > 1]
    heapq.heapify(waiting)
    for _ in range(total - len(sizes)):
        _, which = heapq.heappop(waiting)
        shares[which] += 1
        if shares[which] < sizes[which]:
            heapq.heappush(waiting, (shares[which] / sizes[which], which))
    return shares
