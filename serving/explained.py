"""What pydantic found wrong with a request, in one sentence that says what to change."""

import json
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from serving.errors import InputError


def explained(error: ValidationError, model: type[BaseModel], example: str, kind: str = "field") -> InputError:
    """The first problem, as an InputError.

    model: whose fields the request has; their descriptions say what each one is. example: a body that works.
    kind: what one of them is called: a field of a body, a parameter of an address.
    """
    problems = error.errors(include_url=False)
    found, loc, message = problems[0]["type"], problems[0]["loc"], problems[0]["msg"]
    if found == "json_invalid":
        said = message.removeprefix("Invalid JSON: ")
        return InputError(f"the body is not JSON ({said}); send an object such as {example}")
    if found == "value_error":
        return InputError(message.removeprefix("Value error, "))
    if not loc:
        return InputError(f"the body must be a JSON object such as {example}")
    field = str(loc[0])
    if found == "extra_forbidden":
        return InputError(f"{_shown(field)} is not a {kind} of this request; {_hint(field, model, kind)}", field[:40])
    problem = max((problem for problem in problems if problem["loc"][0] == field), key=lambda one: len(_positions(one)))
    where = field + "".join(f"[{position}]" for position in _positions(problem))
    rule = model.model_fields[field].description
    shown = _shown(problem["input"])
    return InputError(f"{where} = {shown} does not work; {field} is {rule}", field, *_positions(problem))


def _hint(field: str, model: type[BaseModel], kind: str) -> str:
    """The nearest name there is, or all of them."""
    if not model.model_fields:
        return f"it takes no {kind}s"
    nearest = get_close_matches(field, model.model_fields, n=1, cutoff=0.5)
    return f'did you mean "{nearest[0]}"?' if nearest else f"the {kind}s are {', '.join(model.model_fields)}"


def _positions(problem: ErrorDetails) -> list[int]:
    """Where in a list; between the field and the positions pydantic names the members of a union."""
    return [part for part in problem["loc"][1:] if isinstance(part, int)]


def _shown(value: object) -> str:
    """The start of a value as JSON, short enough for a sentence."""
    try:
        text = json.dumps(value)
    except (ValueError, TypeError):  # a whole number of thousands of digits
        return "a huge number"
    return text if len(text) <= 40 else text[:37] + "..."
