"""Structured logs on standard error: text for people, JSON for machines."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

Log = structlog.stdlib.BoundLogger


def configure_logs(level: str, form: Literal["text", "json"]) -> None:
    """Set up structlog and send what libraries log the same way.

    Tracebacks come without local variables: a token could be among them.

    Parameters
    ----------
    level : str   debug, info, warning or error; libraries are heard from warning on
    form : str    text, coloured on a terminal, or json, one object a line
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[structlog.typing.Processor]
    if form == "json":
        renderer = [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(sort_keys=False),
        ]
    else:
        renderer = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                pad_event_to=32,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    structlog.configure(
        processors=[
            # By a level that can change, which loggers made before the change follow as well.
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    set_level(level)


def set_level(level: str) -> None:
    """Hear from this level on: debug, info, warning or error; libraries from warning on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(max(number, logging.WARNING))
    logging.getLogger("recorder").setLevel(number)
    # It warns of each turn skipped because the one before still runs, which is as it should be.
    logging.getLogger("apscheduler").setLevel(max(number, logging.ERROR))


def get_log(name: str, **fields: object) -> Log:
    """Return a logger with fields bound to every line it writes."""
    log: Log = structlog.stdlib.get_logger(name, **fields)
    return log
