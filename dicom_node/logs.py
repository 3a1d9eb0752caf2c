"""Logging: JSON lines on standard error, one fixed snake_case event each.

Owns the structlog set-up for the node and for libraries that use ``logging``. Study, series and job are
bound as context variables by the stages. No patient identifiers: only UIDs, AE titles and addresses.
"""

import logging
import sys
import traceback
from types import TracebackType

import structlog

from dicom_node.errors import NodeError

QUIET_LIBRARIES = (
    "pynetdicom", "pydicom", "dbos", "uvicorn", "uvicorn.access", "highdicom", "sqlalchemy", "python_multipart",
)  # fmt: skip
"""They log received data or chatter; only their warnings are kept."""
QUOTING_LIBRARIES = ("pydicom", "python_multipart")
"""Their warnings may quote what was received: errors only."""

MOST_FRAMES = 12
"""Of a traceback in a log line: enough to find the place."""


def configure_logging(level: str) -> None:
    """Send every log line of this process to standard error as one JSON object."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_message,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    quiet_libraries()


def without_message(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Show where an exception came from, not what it says.

    Texts of foreign exceptions quote received data (patients' names among it), and pydicom's grow without bound on
    hostile data sets. Our own errors hold neither.
    """
    raised = event.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        event["exception"] = type(error).__qualname__
        event["frames"] = _frames(error.__traceback__)
        if isinstance(error, NodeError):
            event["message"] = str(error)
    return event


def _frames(where: TracebackType | None) -> list[str]:
    """The innermost calls, as file:line function."""
    calls = [f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}" for frame, line in traceback.walk_tb(where)]
    return calls[-MOST_FRAMES:]


def quiet_libraries() -> None:
    """Send libraries' lines the same way; again after one of them has set up handlers of its own (DBOS does)."""
    for name in QUIET_LIBRARIES:
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True
        library.setLevel(logging.ERROR if name in QUOTING_LIBRARIES else logging.WARNING)
