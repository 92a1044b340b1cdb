"""Parts of error messages: quoted values, spelling suggestions and pydantic's validation errors.

Quotes are short, on one line, and readable in any alphabet.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

MAX_QUOTED = 40  # characters of a value
_encoder = json.JSONEncoder(ensure_ascii=False)


def quoted(value: object) -> str:
    """Return the start of a value as JSON, with unprintable characters escaped."""
    value = value[: MAX_QUOTED + 1] if isinstance(value, str) else value
    try:
        text = _prefix(_encoder.iterencode(value))
    except ValueError:  # an integer with thousands of digits
        return "a huge number"
    return escaped(text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 3] + "...")


def escaped(text: str) -> str:
    """Escape unprintable characters, such as line breaks and bidirectional controls, as JSON does."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def did_you_mean(
    name: str, known: Iterable[str], otherwise: str, cutoff: float = 0.6, quote: Callable[[str], str] = str
) -> str:
    """Suggest the known name that is nearest to a misspelt one, or return `otherwise` if none is near.

    cutoff: similarity that counts as near, from 0 (any) to 1 (equal). quote: how the suggestion is written.
    """
    nearest = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {quote(nearest[0])}?" if nearest else otherwise


@dataclass(frozen=True)
class InvalidField:
    """One of pydantic's validation errors, as parts of an error message."""

    type: str  # pydantic's name for it, such as "missing"
    loc: tuple[str | int, ...]
    reason: str  # pydantic's message, or that of the ValueError that a validator has raised
    value: Any = None  # as it was given
    context: dict[str, Any] | None = None  # the constraint, such as {"max_length": 1024}

    @property
    def key(self) -> str:
        """The dotted name of the field; empty for the object as a whole."""
        return ".".join(str(part) for part in self.loc)


def invalid_fields(error: "ValidationError", include_input: bool = True) -> list[InvalidField]:
    """List the errors of a ValidationError, in pydantic's order.

    include_input: False leaves the values out, which pydantic would have to convert to Python objects.
    """
    return [
        InvalidField(
            details["type"],
            details["loc"],
            details["msg"].removeprefix("Value error, "),
            details.get("input"),
            details.get("ctx"),
        )
        for details in error.errors(include_url=False, include_input=include_input)
    ]


def _prefix(chunks: Iterable[str]) -> str:
    """Join only as many chunks as are quoted, so that a huge list is not encoded as a whole."""
    text = ""
    for chunk in chunks:
        text += chunk
        if len(text) > MAX_QUOTED:
            break
    return text
