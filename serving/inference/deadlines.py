"""Calls that may hang, with a deadline: on a stalled disk the system lets go of no thread that reads."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlineThread:
    """Makes calls in a daemon thread, one at a time. One that hangs is given up, and no other begins until it returns.

    asyncio.to_thread would do neither: its threads are joined when the process ends, and there are a few for all.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None

    async def call(self, work: Callable[[], T], seconds: float) -> T:
        """The result of `work`, or what it raises; raises TimeoutError after so many seconds."""
        if self._thread is not None and self._thread.is_alive():
            raise TimeoutError("an earlier call has not returned")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            result, failure = None, None
            try:
                result = work()
            except BaseException as error:  # it goes to whoever waits
                failure = error if isinstance(error, Exception) else RuntimeError(repr(error))
            with suppress(RuntimeError):  # the event loop has ended
                loop.call_soon_threadsafe(_settle, done, result, failure)

        self._thread = threading.Thread(target=run, name=self._name, daemon=True)
        self._thread.start()
        try:
            async with asyncio.timeout(seconds):
                return await done
        finally:
            # The thread has nothing left to do but to end, and the next call must not find it alive.
            if done.done() and not done.cancelled():
                self._thread.join()


def _settle(future: "asyncio.Future[Any]", result: object, failure: Exception | None) -> None:
    """Sets a result or an exception, unless nobody waits for it any more."""
    if future.done():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
