"""Deadlines for blocking calls that may hang: a read from a stalled disk cannot be cancelled."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlineThread:
    """Runs calls in a daemon thread, one at a time. A call that hangs is abandoned; none starts until it returns.

    asyncio.to_thread would do neither: its threads are joined at exit, and calls that hang would exhaust its pool.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None

    async def call(self, work: Callable[[], T], seconds: float) -> T:
        """Return the result of `work`, or raise its exception; raises TimeoutError after so many seconds."""
        if self._thread is not None and self._thread.is_alive():
            raise TimeoutError("an earlier call has not returned")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            result, failure = None, None
            try:
                result = work()
            except BaseException as error:  # delivered to the caller
                failure = error if isinstance(error, Exception) else RuntimeError(repr(error))
            with suppress(RuntimeError):  # the event loop has ended
                loop.call_soon_threadsafe(_complete, done, result, failure)

        self._thread = threading.Thread(target=run, name=self._name, daemon=True)
        self._thread.start()
        try:
            async with asyncio.timeout(seconds):
                return await done
        finally:
            # The thread is about to end, and the next call must not find it alive.
            if done.done() and not done.cancelled():
                self._thread.join()


def _complete(future: "asyncio.Future[Any]", result: object, failure: Exception | None) -> None:
    """Complete a future, unless it is cancelled or complete."""
    if future.done():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
