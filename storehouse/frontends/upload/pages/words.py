"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["day_and_time", "machine_time", "size_of"]

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size_of(count: int) -> str:
    """Bytes, in the largest unit of which there is one, with three digits."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1024
        # What would be rounded to 1024 is one of the next unit.
        if value < 1023.5 or unit == _UNITS[-1]:
            break
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {unit}"


def machine_time(seconds: float) -> str:
    """Seconds since 1970 UTC as HTML has times; scripts show it in the zone of the reader."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def day_and_time(seconds: float) -> str:
    """Seconds since 1970 UTC for people whose zone is not known."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC").rjust(20, "0")
