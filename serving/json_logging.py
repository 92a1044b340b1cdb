"""Logs as JSON, one object a line, with the id of the request that a line is about."""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime

from pydantic_core import to_json

from serving.log_writer import NonBlockingHandler

STDERR = 2

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; what is passed as `extra={"fields": {...}}` becomes fields of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return to_json(line, fallback=str).decode()
        except ValueError:  # bytes of a file's name that are no UTF-8
            return json.dumps(line, default=str)


def configure_logging() -> None:
    """Sends what BentoML, uvicorn and Mint log to stderr as JSON, in place of the handlers that they have set up."""
    # What no line shows need not be looked up for each (see "Optimization" in logging's documentation).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = NonBlockingHandler(STDERR)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("bentoml", "serving", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # the edge writes that line, with the request's id
