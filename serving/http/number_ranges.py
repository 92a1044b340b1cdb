"""Seeds and labels in a header: a list of numbers that every proxy lets pass.

Proxies and clients take 4 to 8 KB of headers in all, as they come. A list that is short stands there as it is; a longer
one with runs as ranges, such as 0-299; of one that is too long even so the header says that it was left out.
"""

from collections.abc import Sequence

LONGEST = 1600  # characters; two lists and all other headers fit 4 KB
OMITTED = "omitted"


def write_numbers(numbers: Sequence[int]) -> str:
    """Whole numbers of at least 0 as the value of a header of at most LONGEST characters."""
    text = ",".join(map(str, numbers))
    if len(text) > LONGEST:
        text = ",".join(_ranges(numbers))
    return text if len(text) <= LONGEST else OMITTED


def read_numbers(text: str) -> tuple[int, ...] | None:
    """The numbers again, or None where they were left out; raises ValueError for what is no such list."""
    if text == OMITTED:
        return None
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers += range(int(first), int(last) + 1) if dash else [int(first)]
    return tuple(numbers)


def _ranges(numbers: Sequence[int]) -> list[str]:
    """Runs of numbers that go up by one, three or more, as `first-last`; the others one by one."""
    parts: list[str] = []
    start = 0
    for end in range(1, len(numbers) + 1):
        if end < len(numbers) and numbers[end] == numbers[end - 1] + 1:
            continue
        run = numbers[start:end]
        parts += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else map(str, run)
        start = end
    return parts
