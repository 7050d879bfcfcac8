"""Logs: JSON lines on standard output, each with its request's id."""

import json
import logging
import logging.config
import os
import re
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

#: The id of the request being answered in this context; empty outside a request.
request_id: ContextVar[str] = ContextVar("request_id", default="")
#: The id of its trace; empty where it is not traced.
trace_id: ContextVar[str] = ContextVar("trace_id", default="")

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, logger, message, its ids, and what `extra` holds.

    Of an exception it keeps the type and the code locations, never the text: an exception's text may
    quote the value that it tripped over, and that value may be a secret.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as one line of JSON."""
        more = {name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}
        if record.exc_info and record.exc_info[1] is not None:
            more["exception"] = _locations(record.exc_info[1])
        return _line(record.created, record.levelno, record.name, record.getMessage(), more)


def write(logger: logging.Logger, level: int, message: str, more: Mapping[str, Any]) -> None:
    """Write a line to standard output as *logger* would.

    Past it, for the one line that every request leaves: by the logger it took a tenth of a fetch.
    """
    if logger.isEnabledFor(level):
        line = _line(time.time(), level, logger.name, message, more)
        # A log that cannot be written, or is not there at all, fails no request, as with the logger.
        with suppress(Exception):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def _line(seconds: float, level: int, logger: str, message: str, more: Mapping[str, Any]) -> str:
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds"),
        "level": logging.getLevelName(level).lower(),
        "logger": logger,
        "pid": os.getpid(),
        "message": message,
    }
    if identifier := request_id.get():
        line["request_id"] = identifier
    if trace := trace_id.get():
        line["trace_id"] = trace
    return _ENCODER.encode({**line, **more})


# One encoder for all lines: making one takes as long as using it.
_ENCODER = json.JSONEncoder(default=str)


def _locations(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    # Errors of `vault.core.errors` have names of their own; this floor does not know that module.
    name = getattr(error, "shown_name", lambda: type(error).__name__)()
    own = [name, *(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)]
    cause = error.__cause__ or error.__context__
    return own if cause is None else [*own, "caused by", *_locations(cause)]


#: The beginnings of gunicorn's messages that go on with what a client sent.
_QUOTING = re.compile(
    r"Invalid request from ip=\S+(?=:)"
    r"|Error handling (HTTP/2 )?request"
    r"|Ignored premature client disconnection"
    r"|Closing connection"
    r"|HTTP/2 [a-z ]+"
    r"|%s %s"
)


class WithoutRequests(logging.Filter):
    """Takes out of gunicorn's messages what they quote of a request.

    It quotes what it cannot parse; behind a wrong Content-Length that is the rest of a body, secret and all.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let *record* pass, cut off where the quotation begins."""
        if quoting := _QUOTING.match(str(record.msg)):
            record.msg, record.args = quoting[0].replace("%s %s", "request"), ()
        return True


def configuration(level: str) -> dict[str, Any]:
    """Return the `logging.config.dictConfig` dictionary of a process that logs from *level* up.

    Libraries stay at `WARNING` and above whatever *level* is: PyMongo's debug log prints whole commands.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "vault.observability.logs.JsonFormatter"}},
        "filters": {"without_requests": {"()": "vault.observability.logs.WithoutRequests"}},
        "handlers": {
            "stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}
        },
        "root": {"level": "WARNING", "handlers": ["stdout"]},
        "loggers": {
            "vault": {"level": level.upper()},
            "gunicorn.error": {
                "level": level.upper(),
                "handlers": [],
                "filters": ["without_requests"],
                "propagate": True,
            },
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
        },
    }


def configure(level: str) -> None:
    """Let this process log from *level* up."""
    logging.config.dictConfig(configuration(level))
