"""What pydantic found wrong with a request, in one sentence that says what to change."""

from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from serving.errors import InputError
from serving.quoting import MAX_QUOTED, quoted, visible

MOST_MISTAKES = 100  # that are looked at one by one: a body can hold 100,000 unknown fields
LARGEST_SHOWN = 1 << 16  # bytes

# How bodies begin that people send in place of JSON, and what to do about it.
STARTS = {
    b"\x1f\x8b": "it is gzip; send it uncompressed",
    b"\x28\xb5\x2f\xfd": "it is zstd; send it uncompressed",
    b"PK\x03\x04": "it is a zip file; send what is in it",
    b"\x93NUMPY": "it is a .npy file; send it with the header Content-Type: application/x-npy",
    b"\xff\xfe": "it is UTF-16; send UTF-8",
    b"\xfe\xff": "it is UTF-16; send UTF-8",
}


def to_input_error(
    error: ValidationError, model: type[BaseModel], kind: str = "field", body: bytes = b""
) -> InputError:
    """The first problem, as an InputError.

    model: whose fields the request has; their descriptions say what each one is. kind: what one of them is called: a
    field of a body, a parameter of an address. body: where they come from, if it is one; of a large body the values at
    fault are not shown, since pydantic would have to make Python objects of all that is in them.
    """
    if (mistakes := error.error_count()) > MOST_MISTAKES:
        return InputError(f"there are {mistakes} mistakes in this request; {_fields(model, kind)}")
    problems = error.errors(include_url=False, include_input=len(body) < LARGEST_SHOWN)
    found, loc, message = problems[0]["type"], problems[0]["loc"], problems[0]["msg"]
    if found == "json_invalid":
        return _not_json(body, message.removeprefix("Invalid JSON: "))
    if found == "value_error":
        return InputError(message.removeprefix("Value error, "))
    if not loc:
        return InputError('the body must be a JSON object such as {"seeds": [7]}')
    field = str(loc[0])
    if found == "extra_forbidden":
        sentence = f"{quoted(field)} is not a {kind} of this request; {_hint(field, model, kind)}"
        return InputError(sentence, visible(field[:MAX_QUOTED]))
    problem = max((problem for problem in problems if problem["loc"][0] == field), key=lambda one: len(_positions(one)))
    where = field + "".join(f"[{position}]" for position in _positions(problem))
    rule = model.model_fields[field].description
    if problem["type"] in ("too_long", "string_too_long"):
        most = problem["ctx"]["max_length"]
        unit = "entries" if problem["type"] == "too_long" else "characters"
        sentence = f"{where} has more than {most} {unit}, which no request may; {field} is {rule}"
    else:
        shown = f" = {quoted(problem['input'])}" if "input" in problem else ""
        sentence = f"{where}{shown} does not work; {field} is {rule}"
    return InputError(sentence, field, *_positions(problem))


def _not_json(body: bytes, parser: str) -> InputError:
    """The error of a body that is not JSON: what it is instead, if its first bytes tell, else what the parser said."""
    said = next((said for start, said in STARTS.items() if body.startswith(start)), None)
    if said is None and b"\0" in body[:4]:
        said = "it is UTF-16 or UTF-32; send UTF-8"
    if said is None:
        try:
            body.decode()
        except UnicodeDecodeError as undecodable:
            said = f"byte {undecodable.start} is not UTF-8; send UTF-8"
    if said is None:
        said = f'{parser}; send an object such as {{"seeds": [7]}}'
    reason, _, change = said.partition("; ")
    return InputError(f"the body is not JSON ({reason}); {change}")


def _hint(field: str, model: type[BaseModel], kind: str) -> str:
    """The nearest name there is, or all of them."""
    nearest = get_close_matches(field, model.model_fields, n=1, cutoff=0.5) if len(field) <= MAX_QUOTED else None
    return f'did you mean "{nearest[0]}"?' if nearest else _fields(model, kind)


def _fields(model: type[BaseModel], kind: str) -> str:
    return f"the {kind}s are {', '.join(model.model_fields)}" if model.model_fields else f"it takes no {kind}s"


def _positions(problem: ErrorDetails) -> list[int]:
    """Where in a list; between the field and the positions pydantic names the members of a union."""
    return [part for part in problem["loc"][1:] if isinstance(part, int)]
