"""Exceptions shown to users: one sentence that says what is wrong and what to change, without a traceback.

Each class knows the HTTP status, headers and location of its response; serving.http.exception_handlers writes it.
"""

from collections.abc import Sequence


class MintError(Exception):
    """Base class of every error that is shown without a traceback.

    status: HTTP status; None where the server is at fault, which clients see as a 500. headers: sent with it. loc: the
    place in the request, a field and list positions inside it, such as ("seeds", 0).
    """

    status: int | None = None
    headers: Sequence[tuple[str, str]] = ()
    loc: tuple[str | int, ...] = ()


class ModelError(MintError):
    """A model file that cannot be served: missing, damaged, without a card or inconsistent with it."""


class ModelUnreadableError(ModelError):
    """A model file that cannot be read now (permissions, file descriptors, memory); a later attempt may succeed."""


class SettingsError(MintError):
    """An environment variable of the service that cannot be used."""


class InputError(MintError):
    """Seeds, latents, labels or options that this model cannot make images from."""

    status = 400

    def __init__(self, sentence: str, *loc: str | int) -> None:
        super().__init__(sentence)
        self.loc = loc


class ProtocolError(MintError):
    """A request that breaks HTTP/1.1, a limit of the connection or its time limit."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        if status == 503:
            self.headers = [("Retry-After", "1")]


class ClientDisconnectedError(MintError):
    """The client has closed its connection before its response was ready."""

    status = 499  # nginx's number: no client reads the response, but metrics and logs count it separately
