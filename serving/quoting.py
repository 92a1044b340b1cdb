"""Quotes of a request for error sentences: short, on one line, and readable in any alphabet."""

import json
from collections.abc import Iterable

MAX_QUOTED = 40  # characters of a value
_encoder = json.JSONEncoder(ensure_ascii=False)


def quoted(value: object) -> str:
    """The start of a value as JSON; what cannot be seen is escaped."""
    value = value[: MAX_QUOTED + 1] if isinstance(value, str) else value
    try:
        text = _start(_encoder.iterencode(value))
    except ValueError:  # a whole number of thousands of digits
        return "a huge number"
    return visible(text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 3] + "...")


def visible(text: str) -> str:
    """Text with what cannot be seen, such as line ends and marks of direction, escaped as JSON escapes it."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def _start(chunks: Iterable[str]) -> str:
    """The first chunks, as many as are needed: a list of a megabyte is not encoded for forty characters."""
    text = ""
    for chunk in chunks:
        text += chunk
        if len(text) > MAX_QUOTED:
            break
    return text
