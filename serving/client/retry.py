"""Retry policy: exponential backoff with jitter, honours Retry-After."""

import random
import time

import httpx

from serving.client.requests import Attempt

FIRST_DELAY_S, MAX_DELAY_S = 0.25, 4.0
MAX_CONNECT_ATTEMPTS = 7  # 12 seconds: enough for a service to start, short enough to notice a wrong address
RETRY_STATUSES = (429, 503)
UNSENT_ERRORS = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class RetryPolicy:
    """Retries of one request, up to a time limit."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._attempts = 0

    def delay(self, attempt: Attempt) -> float | None:
        """Seconds until the next attempt; None for no retry.

        Retries only requests that were not carried out: those that a busy service refused, after its Retry-After, and
        those that could not be sent.
        """
        self._attempts += 1
        delay = min(FIRST_DELAY_S * 2 ** (self._attempts - 1), MAX_DELAY_S)
        if isinstance(attempt, httpx.Response):
            if attempt.status_code not in RETRY_STATUSES:
                return None
            retry_after = attempt.headers.get("Retry-After", "")
            delay = max(delay, int(retry_after) if retry_after.isdecimal() else 0)
        elif not isinstance(attempt, UNSENT_ERRORS) or self._attempts >= MAX_CONNECT_ATTEMPTS:
            return None
        delay += random.uniform(0, FIRST_DELAY_S)  # spreads out clients that were refused together
        return delay if time.monotonic() + delay <= self._deadline else None
