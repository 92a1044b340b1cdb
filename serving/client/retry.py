"""When a client sends the same request again."""

import random
import time

import httpx

from serving.client.requests import Attempt

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0
CONNECTS = 7  # 12 seconds: a service may take that to start, and a wrong address should not take longer to notice
BUSY = (429, 503)
NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class RetryPolicy:
    """Whether the same request is sent again, and after how long."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._attempts = 0

    def pause(self, outcome: Attempt) -> float | None:
        """Seconds until the next attempt; None when there should be none.

        Only what has not been carried out is sent again: requests that a busy service refused, after the time that it
        asks for, and those that have not left this machine.
        """
        self._attempts += 1
        pause = min(FIRST_PAUSE_S * 2 ** (self._attempts - 1), LONGEST_PAUSE_S)
        if isinstance(outcome, httpx.Response):
            if outcome.status_code not in BUSY:
                return None
            asked = outcome.headers.get("Retry-After", "")
            pause = max(pause, int(asked) if asked.isdecimal() else 0)
        elif not isinstance(outcome, NOTHING_SENT) or self._attempts >= CONNECTS:
            return None
        pause += random.uniform(0, FIRST_PAUSE_S)  # so that clients that were refused together come back one by one
        return pause if time.monotonic() + pause <= self._end else None
