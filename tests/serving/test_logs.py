"""Lines of the log: whole, and never waited for."""

import json
import logging
import os
import threading
from collections.abc import Iterator

import pytest

from serving.json_logging import BUFFER_BYTES, JsonFormatter, NonBlockingHandler

TIME_LIMIT_S = 90
LINES = 3 * BUFFER_BYTES // 1000


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's end to read and its end to write."""
    ends = os.pipe()
    yield ends
    os.close(ends[0])
    os.close(ends[1])


def logger_on(descriptor: int) -> logging.Logger:
    handler = NonBlockingHandler(descriptor)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger


def test_a_log_that_nobody_reads_holds_nobody_up_and_says_later_what_was_dropped(pipe: tuple[int, int]) -> None:
    out, into = pipe
    logger = logger_on(into)

    def write() -> None:
        for number in range(LINES):
            logger.info("%d %s", number, "x" * (10_000 if number == 3 else 1000))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    writer.join(TIME_LIMIT_S)
    assert not writer.is_alive()

    with open(out, "rb", closefd=False) as reader:  # a pipe has no path
        lines = []
        while not lines or "were dropped" not in lines[-1]["message"]:
            lines.append(json.loads(reader.readline()))
        logger.info("afterwards")
        assert json.loads(reader.readline())["message"] == "afterwards"
    numbers = [int(line["message"].split()[0]) for line in lines[:-1]]
    dropped = int(lines[-1]["message"].split()[0])
    assert numbers == sorted(set(numbers))
    assert len(lines[3]["message"]) > 10_000
    assert len(numbers) + dropped == LINES
    assert dropped > LINES // 2


def test_a_log_whose_reader_is_gone_holds_nobody_up() -> None:
    out, into = os.pipe()
    os.close(out)
    logger = logger_on(into)

    def log() -> None:
        for _ in range(10):
            logger.info("nobody hears this")
        logger.handlers[0].flush()  # nothing is left that could go to another file of that number

    logging_thread = threading.Thread(target=log, daemon=True)
    logging_thread.start()
    logging_thread.join(90)
    assert not logging_thread.is_alive()
    os.close(into)


def test_a_name_that_is_no_utf8_is_a_line_of_the_log(pipe: tuple[int, int]) -> None:
    out, into = pipe
    logger_on(into).info("serving %s", os.fsdecode(b"caf\xe9.onnx"))
    assert json.loads(os.read(out, 1000))["message"] == "serving caf\udce9.onnx"
