"""Log lines on standard error, as text for people or JSON for machines."""

import json
import logging
import re
import sys
import time
from functools import lru_cache
from typing import Any, Final

import psycopg
import structlog
from structlog.types import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from infra.settings import Settings


def set_up(settings: Settings, *, lasting: bool = False) -> None:
    """Let structlog and the standard library's logging write the same lines.

    ``lasting``: a process that will not be set up in another way; its loggers are made once.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _stamp,
        _brief,
    ]
    lines: list[Processor] = (
        [
            structlog.processors.format_exc_info,
            _for_machines,
        ]
        if settings.log_json
        # The console's renderer lays lines out for eyes, and takes four times as long.
        else [_harmless_values, _for_eyes()]
        if sys.stderr.isatty()
        else [structlog.processors.format_exc_info, _for_files]
    )
    to_files = lines[-1] is _for_files and level <= logging.INFO
    structlog.configure(
        processors=[*shared, *lines],
        wrapper_class=_direct(level) if to_files else structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=lasting,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *lines],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries are heard when something is wrong; every one of our own lines is structlog's.
    root.setLevel(max(level, logging.WARNING))


def _for_eyes() -> Processor:
    return structlog.dev.ConsoleRenderer(
        # Left to itself it writes the local variables too: secrets, tokens, passwords.
        exception_formatter=structlog.dev.plain_traceback,
    )


def _direct(level: int) -> type[FilteringBoundLogger]:
    """A logger whose plain lines go straight to the file, as the processors would have them.

    Every request has one, and half of what it cost was to be handed from processor to processor.
    """
    usual = structlog.make_filtering_bound_logger(level)

    def info(self: Any, event: Any, *args: Any, **values: Any) -> Any:
        if args or self._context or "exc_info" in values:
            return usual.info(self, event, *args, **values)
        given = {"timestamp": _now(), "level": "info", "event": event, **values}
        for name, value in structlog.contextvars.get_contextvars().items():
            given.setdefault(name, value)
        return self._logger.msg(_line(given))

    return type("Direct", (usual,), {"info": info})


_FIRST: Final = ("timestamp", "level", "event")
_plain: Final = re.compile(r"[^\s\"=\x00-\x1f\x7f-\x9f]+").fullmatch
_json: Final = structlog.processors.JSONRenderer(ensure_ascii=False)
_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode
_controls: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What moves a terminal's cursor, or begins another line."""


def _for_files(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """``name=value`` pairs in one line, and the lines of an error below them."""
    exception = event.pop("exception", None)
    line = _line({**{name: event.pop(name) for name in _FIRST if name in event}, **event})
    return line if exception is None else f"{line}\n{exception}"


def _line(pairs: dict[str, Any]) -> str:
    line = " ".join([f"{name}={value!s}" for name, value in pairs.items()])
    if _all_plain(line, len(pairs)):
        return line
    return " ".join([f"{name}={_value(str(value))}" for name, value in pairs.items()])


def _all_plain(line: str, pairs: int) -> bool:
    """Whether nothing in a line of so many pairs needs quotes: one look at all of it."""
    return (
        line.isprintable()  # no white space but the blanks that are counted here
        and line.count(" ") == pairs - 1
        and line.count("=") == pairs
        and '"' not in line
        and "= " not in line
        and not line.endswith("=")
    )


def _value(text: str) -> str:
    return text if _plain(text) else _harmless(_quoted(text))


def _harmless(text: str) -> str:
    """The same with control characters escaped, as JSON has it: anybody may put them into the
    address of a request."""
    return _controls.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _for_machines(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """One JSON object."""
    return _harmless(str(_json(logger, method, event)))


def _brief(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What an error is, and where it came from unless the database was away: that may go on for
    hours, and there is nothing more to know."""
    error = event.get("exc_info")
    if isinstance(error, Exception):
        event["error"] = repr(error)
        if isinstance(error, psycopg.OperationalError):
            del event["exc_info"]
    return event


def _harmless_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _harmless(value)
    return event


def _stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = _now()
    return event


def _now() -> str:
    """The time in UTC, as ISO 8601 with microseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds // 1000:06}Z"


@lru_cache(2)
def _second(seconds: int) -> str:
    # Once a second and not with every line: a busy server writes thousands of them.
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
