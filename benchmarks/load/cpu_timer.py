"""CPU-time timer of one thread, which signals at fixed intervals of CPU time (timer_create(2), which Python lacks)."""

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGEV_THREAD_ID = 4  # the signal goes to one thread


class SignalEvent(ctypes.Structure):
    """struct sigevent."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("padding", ctypes.c_int * 11),
    )


class TimerTimes(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


@contextmanager
def signal_every(seconds: float, number: int, thread: threading.Thread) -> Iterator[None]:
    """Signal a thread whenever it has used so many seconds (less than one) of CPU time."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)
    event = SignalEvent(signal=number, notify=SIGEV_THREAD_ID, thread=thread.native_id)
    timer = ctypes.c_void_p()
    if libc.timer_create(ctypes.c_int(clock), ctypes.byref(event), ctypes.byref(timer)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "timer_create")
    nanoseconds = round(1e9 * seconds)
    times = TimerTimes(0, nanoseconds, 0, nanoseconds)
    try:
        libc.timer_settime(timer, 0, ctypes.byref(times), None)
        yield
    finally:
        libc.timer_delete(timer)
