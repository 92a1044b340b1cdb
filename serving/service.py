"""The BentoML service: the way in. The routes are in serving.app.

bentoml serve serving.service:Mint

BentoML reads this file twice, in the process that opens the port and watches the worker and in the worker itself, and
both stand between a start and the first answer: what only the worker needs is imported there.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")

import bentoml
from _bentoml_sdk import Service
from bentoml._internal.utils.analytics.usage_stats import do_not_track
from starlette.types import ASGIApp

from serving.errors import MintError
from serving.generator import Generator
from serving.logs import log_as_json
from serving.session import cuda_devices
from serving.settings import Settings

do_not_track.cache_clear()  # `bentoml serve` has asked before it read this file, and remembers the answer

T = TypeVar("T")


def or_exit(work: Callable[[], T]) -> T:
    """Runs `work`; an error that is meant for people ends the process with its sentence."""
    try:
        return work()
    except MintError as error:
        sys.exit(f"error: {error}")


class MintService(Service[Any]):
    """A BentoML service whose worker serves our app and nothing else.

    BentoML's own app costs a multiple of a route's time at each request and a seventh of the start, labels its figures
    with whatever path is asked for, knows no body limit, and answers errors in shapes of its own.
    """

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The ASGI app that a worker serves."""
        from serving.app import App
        from serving.backend import Backend

        return App(Backend(settings))


log_as_json()
settings = or_exit(Settings.from_environment)


@bentoml.service(  # type: ignore[operator]  # mypy takes it for the submodule of that name
    service_class=MintService,
    workers=1,  # one model and one queue; a second process would halve the batches
)
class Mint:
    """Images from seeds, over HTTP."""

    @bentoml.on_deployment
    @staticmethod
    def refuse_a_bad_model() -> None:
        """Ends `bentoml serve` before any worker starts: a worker that cannot load is started over and over."""
        # On the CPU where there is a GPU: this process lives as long as the worker and must not hold GPU memory.
        or_exit(lambda: Generator.load(settings.model, "cpu" if cuda_devices() else settings.provider))
