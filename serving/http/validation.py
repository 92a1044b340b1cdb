"""Validation errors of requests, from pydantic's ValidationError to an InputError of one sentence."""

from pydantic import BaseModel, ValidationError

from serving.error_messages import MAX_QUOTED, InvalidField, did_you_mean, escaped, invalid_fields, quoted
from serving.errors import InputError

MAX_EXAMINED = 100  # errors that are examined one by one: a body can hold 100,000 unknown fields
MAX_QUOTED_BODY = 1 << 16  # bytes

# First bytes of what people send in place of JSON, and what to do about it.
SIGNATURES = {
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
    """Describe the first error of a request.

    model: schema of the request; the descriptions of its fields are part of the sentence. kind: name of a field, such
    as "parameter" in a query string. body: the JSON, if there is one; the values of a large body are not quoted, since
    pydantic would have to make Python objects of all that is in them.
    """
    if (count := error.error_count()) > MAX_EXAMINED:
        return InputError(f"there are {count} mistakes in this request; {_list_fields(model, kind)}")
    with_values = len(body) < MAX_QUOTED_BODY
    findings = invalid_fields(error, include_input=with_values)
    first = findings[0]
    if first.type == "json_invalid":
        return _not_json(body, first.reason.removeprefix("Invalid JSON: "))
    if first.type == "value_error":
        return InputError(first.reason)
    if not first.loc:
        return InputError('the body must be a JSON object such as {"seeds": [7]}')
    name = str(first.loc[0])
    if first.type == "extra_forbidden":
        fields = _list_fields(model, kind)
        hint = did_you_mean(name, model.model_fields, fields, 0.5, '"{}"'.format) if len(name) <= MAX_QUOTED else fields
        return InputError(f"{quoted(name)} is not a {kind} of this request; {hint}", escaped(name[:MAX_QUOTED]))
    # A union reports an error for each of its members: the one deepest in the value is the one that the client meant.
    deepest = max((each for each in findings if each.loc[0] == name), key=lambda each: len(_positions(each)))
    return _invalid_value(name, deepest, model.model_fields[name].description, with_values)


def _invalid_value(name: str, found: InvalidField, description: str | None, with_value: bool) -> InputError:
    """Describe a value that breaks a constraint of its field."""
    positions = _positions(found)
    where = name + "".join(f"[{position}]" for position in positions)
    if found.context and found.type in ("too_long", "string_too_long"):
        unit = "entries" if found.type == "too_long" else "characters"
        problem = f"{where} has more than {found.context['max_length']} {unit}, which no request may"
    else:
        shown = f" = {quoted(found.value)}" if with_value else ""
        problem = f"{where}{shown} does not work"
    return InputError(f"{problem}; {name} is {description}", name, *positions)


def _not_json(body: bytes, parser_message: str) -> InputError:
    """Describe a body that is not JSON: by its first bytes if they are known, else by the parser's message."""
    found = next((found for signature, found in SIGNATURES.items() if body.startswith(signature)), None)
    if found is None and b"\0" in body[:4]:
        found = "it is UTF-16 or UTF-32; send UTF-8"
    if found is None:
        try:
            body.decode()
        except UnicodeDecodeError as undecodable:
            found = f"byte {undecodable.start} is not UTF-8; send UTF-8"
    if found is None:
        found = f'{parser_message}; send an object such as {{"seeds": [7]}}'
    reason, _, change = found.partition("; ")
    return InputError(f"the body is not JSON ({reason}); {change}")


def _list_fields(model: type[BaseModel], kind: str) -> str:
    return f"the {kind}s are {', '.join(model.model_fields)}" if model.model_fields else f"it takes no {kind}s"


def _positions(found: InvalidField) -> list[int]:
    """Return the list positions in a location, without the names of union members that pydantic puts among them."""
    return [part for part in found.loc[1:] if isinstance(part, int)]
