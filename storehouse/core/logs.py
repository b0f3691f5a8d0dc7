"""
Log events as JSON lines.

One JSON object a line, UTF-8, with these names:

========= ========================================================================
time      RFC 3339 in UTC with microseconds, C{2026-11-21T09:30:00.123456Z}
level     C{debug}, C{info}, C{warn}, C{error} or C{critical}
system    the part of the program that speaks, a dotted name
message   the text for people
traceback where an unexpected failure came from; only with one
========= ========================================================================

and the named fields of the event that are numbers, texts, booleans or null; a field whose name is taken above
has C{_} appended.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from twisted.logger import ILogObserver, LogEvent, formatEvent
from zope.interface import implementer

from storehouse.errors import StartFailed

__all__ = ["JSONLinesObserver", "json_line", "line_writer"]

#: Fields that repeat what the others say, from the older of Twisted's two ways to log.
_repeated = frozenset({"message", "isError", "format", "time", "system", "failure", "why"})


def json_line(event: LogEvent) -> str:
    """Write one log event as a line, with its newline.  Never raises."""
    failure = event.get("log_failure")
    try:
        message = formatEvent(event)
    except Exception as error:  # a field whose text cannot be made
        message = f"an event that cannot be formatted: {event.get('log_format')!r}: {type(error).__name__}"
    line: dict[str, Any] = {
        "time": _time(event.get("log_time")),
        "level": getattr(event.get("log_level"), "name", "info"),
        "system": _text(event.get("log_namespace") or event.get("log_system") or "-"),
        "message": _text(message),
    }
    if failure is not None:
        try:
            line["traceback"] = _text(failure.getTraceback())
        except Exception as error:
            line["traceback"] = f"a traceback that cannot be formatted: {type(error).__name__}"
    legacy = "log_legacy" in event or "isError" in event
    for name, value in event.items():
        if name.startswith("log_") or (legacy and name in _repeated):
            continue
        safe, value = _safe(value)
        if safe:
            line[name if name not in line else name + "_"] = value
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"


def _time(seconds: Any) -> str:
    try:
        when = datetime.fromtimestamp(seconds, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        when = datetime.now(UTC)
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _safe(value: Any) -> tuple[bool, Any]:
    if value is None or isinstance(value, bool):
        return True, value
    if isinstance(value, int):
        return True, int(value)
    if isinstance(value, float):
        return True, float(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return True, _text(value)
    if isinstance(value, bytes):
        return True, value.decode("utf-8", "backslashreplace")
    return False, None


@implementer(ILogObserver)
class JSONLinesObserver:
    """
    Writes every event as a line.

    @param write: takes the text of a line and hands it on at once.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def __call__(self, event: LogEvent) -> None:
        """
        Write one event, unless it says nothing, as in a text log. A reader who is gone or a full disk costs the line, never
        the program.
        """
        if event.get("log_format") == "" and "log_failure" not in event:
            return
        try:
            self._write(json_line(event))
        except (OSError, ValueError):
            pass


def line_writer(path: str) -> Callable[[str], object]:
    """
    What adds lines to a file, or to standard output if the path is empty.

    @raise StartFailed: if the file cannot be opened.
    """
    if not path:
        stream = sys.__stdout__
    else:
        try:
            # Users, addresses and targets of requests are private.
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            stream = os.fdopen(fd, "a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise StartFailed(f"log-file cannot be {path!r}: {error.strerror or error}") from None

    def write(line: str) -> None:
        if stream is not None:
            stream.write(line)
            stream.flush()

    return write
