"""Logs: JSON lines on standard output, each with its request's ID."""

import json
import logging
import logging.config
import os
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

#: The ID of this context's request; empty outside a request.
request_id: ContextVar[str] = ContextVar("request_id", default="")
#: The ID of the request's trace; empty if it is not traced.
trace_id: ContextVar[str] = ContextVar("trace_id", default="")

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Format each record as a JSON object: time, level, logger, message, its IDs and the contents of `extra`.

    An exception is logged as its type and code locations, never its text: the text may quote a value, and the
    value may be a secret.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as one line of JSON."""
        more = {name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}
        if record.exc_info and record.exc_info[1] is not None:
            more["exception"] = locations(record.exc_info[1])
        return _line(record.created, record.levelno, record.name, record.getMessage(), more)


def write(logger: logging.Logger, level: int, message: str, more: Mapping[str, Any]) -> None:
    """Write a line to standard output, in the same form as *logger* but without using it.

    This is for the line that every request logs: with the logger it took a tenth of a fetch.
    """
    if logger.isEnabledFor(level):
        line = _line(time.time(), level, logger.name, message, more)
        # As with the logger, a missing or unwritable log fails no request.
        with suppress(Exception):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def _line(seconds: float, level: int, logger: str, message: str, more: Mapping[str, Any]) -> str:
    second, millisecond = divmod(int(seconds * 1_000), 1_000)
    line: dict[str, Any] = {"message": message}
    if identifier := request_id.get():
        line["request_id"] = identifier
    if trace := trace_id.get():
        line["trace_id"] = trace
    line.update(more)
    origin = _origin(level, logger, os.getpid())
    return f'{{"time": "{_time(second)}.{millisecond:03}+00:00", {origin}, {_ENCODER.encode(line)[1:]}'


# One encoder for all lines: making one takes as long as using it.
_ENCODER = json.JSONEncoder(default=str)


@lru_cache(1)
def _time(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(64)
def _origin(level: int, logger: str, pid: int) -> str:
    """Return the fields of a line that are the same in most."""
    name = logging.getLevelName(level).lower()
    return _ENCODER.encode({"level": name, "logger": logger, "pid": pid})[1:-1]


def locations(error: BaseException) -> list[str]:
    """Return the type of *error*, and its places in the code, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    # Errors of `vault.common.errors` have their own names. This package must not import that module.
    name = getattr(error, "shown_name", lambda: type(error).__name__)()
    own = [name, *(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)]
    cause = error.__cause__ or error.__context__
    return own if cause is None else [*own, "caused by", *locations(cause)]


def configuration(level: str) -> dict[str, Any]:
    """Return the `logging.config.dictConfig` dictionary for logging at *level* and above.

    Libraries always log at `WARNING` and above: PyMongo's debug log prints whole commands.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "vault.common.observability.logs.JsonFormatter"}},
        "handlers": {
            "stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}
        },
        "root": {"level": "WARNING", "handlers": ["stdout"]},
        "loggers": {
            "vault": {"level": level.upper()},
            "gunicorn.error": {"level": level.upper(), "handlers": [], "propagate": True},
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
        },
    }


def configure(level: str) -> None:
    """Configure this process to log at *level* and above."""
    logging.config.dictConfig(configuration(level))
