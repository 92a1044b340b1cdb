"""Stratified subsampling: proportions, spacing and limits."""

import pytest

from training.data.sources import Item
from training.data.subset import proportional_counts, stratified_subset


def items_by_class(sizes: dict[int | None, int]) -> list[Item]:
    """Items of each class, in the order of a sorted source."""
    return [Item(f"{label}/{i}", bytes, label) for label, size in sizes.items() for i in range(size)]


def test_a_limit_keeps_every_class_in_its_proportion() -> None:
    chosen = stratified_subset(items_by_class({0: 900, 1: 98, 2: 2}), 100)
    assert [sum(item.label == label for item in chosen) for label in (0, 1, 2)] == [89, 10, 1]


def test_a_limit_is_spread_evenly_over_the_source() -> None:
    chosen = stratified_subset(items_by_class({None: 100}), 4)
    assert [item.name for item in chosen] == ["None/0", "None/25", "None/50", "None/75"]


def test_a_limit_above_the_number_of_images_keeps_all() -> None:
    items = items_by_class({0: 3, 1: 4})
    assert stratified_subset(items, 7) == stratified_subset(items, 8) == stratified_subset(items, None) == items


@pytest.mark.parametrize(("sizes", "total"), [([1, 1, 1], 3), ([5, 1, 9], 14), ([1000, 1], 7), ([3, 3], 5)])
def test_proportional_counts_add_up_and_fit(sizes: list[int], total: int) -> None:
    counts = proportional_counts(sizes, total)
    assert sum(counts) == total
    assert all(1 <= count <= size for count, size in zip(counts, sizes, strict=True))
