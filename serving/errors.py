"""Errors written for the person who caused them: one sentence, what is wrong and what to change."""


class MintError(Exception):
    """Base of every error that is shown without a traceback."""


class ModelError(MintError):
    """A model file that cannot be served: missing, damaged, without a card or at odds with it."""


class ModelUnreadableError(ModelError):
    """A model file that the system does not let be read now: permissions, descriptors or memory, which may pass."""


class SettingsError(MintError):
    """An environment variable of the service that cannot be used."""


class InputError(MintError):
    """Seeds, latents, labels or options that this model cannot make images from.

    `loc` says where in the request: a field, and inside it list positions, such as ("seeds", 0).
    """

    def __init__(self, sentence: str, *loc: str | int) -> None:
        super().__init__(sentence)
        self.loc = loc


class ProtocolError(MintError):
    """A request that did not arrive as HTTP/1.1 has it, or not in time; `status` is that of its answer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
