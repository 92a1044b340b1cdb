"""JSON logging: complete lines, and no blocking."""

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
    """Read end and write end of a pipe."""
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


def test_an_unread_log_does_not_block_and_reports_dropped_lines_later(pipe: tuple[int, int]) -> None:
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


def test_a_log_with_a_closed_reader_does_not_block() -> None:
    out, into = os.pipe()
    os.close(out)
    logger = logger_on(into)

    def log() -> None:
        for _ in range(10):
            logger.info("nobody hears this")
        logger.handlers[0].flush()  # no line is left that could be written to another file with this descriptor

    logging_thread = threading.Thread(target=log, daemon=True)
    logging_thread.start()
    logging_thread.join(90)
    assert not logging_thread.is_alive()
    os.close(into)


def test_a_file_name_that_is_not_utf8_can_be_logged(pipe: tuple[int, int]) -> None:
    out, into = pipe
    logger_on(into).info("serving %s", os.fsdecode(b"caf\xe9.onnx"))
    assert json.loads(os.read(out, 1000))["message"] == "serving caf\udce9.onnx"
