"""Parsers of the values of settings: functions that take what was written, a text or what TOML has, and return the value."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from storehouse.core.times import parse_duration

__all__ = [
    "GIB",
    "KIB",
    "MIB",
    "OFF",
    "counted",
    "name_of",
    "one_of",
    "or_off",
    "parse_flag",
    "parse_hosts",
    "parse_optional",
    "parse_path",
    "parse_path_or_off",
    "parse_size",
    "parse_text",
    "parse_url",
    "parse_whole",
    "seconds",
    "sized",
    "write_size",
]

T = TypeVar("T")

#: The value of what is not wanted, such as a door that is not opened.
OFF = "off"

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

_units = {
    "": 1,
    "b": 1,
    "kib": KIB,
    "mib": MIB,
    "gib": GIB,
    "tib": 1 << 40,
    "k": KIB,
    "m": MIB,
    "g": GIB,
    "t": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_host = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?\Z")
_size = re.compile(r"([0-9]{1,18})\s*([a-z]*)", re.IGNORECASE | re.ASCII)


def parse_whole(value: object) -> int:
    """@raise ValueError: unless it is a whole number."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("a whole number is needed")
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]{1,18}", value.strip(), re.ASCII):
            raise ValueError("a whole number is needed")
        return int(value)
    return value


def _between(number: int, low: int, high: int | None, write: Callable[[int], str] = str) -> int:
    if number < low or (high is not None and number > high):
        raise ValueError(f"it must be at least {write(low)}" + ("" if high is None else f" and at most {write(high)}"))
    return number


def write_size(size: int) -> str:
    """A number of bytes as L{parse_size} takes it, in the largest unit that gives a whole number: C{64KiB}."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _units[unit.lower()] == 0:
            return f"{size // _units[unit.lower()]}{unit}"
    return str(size)


def parse_size(value: object) -> int:
    """
    Read a number of bytes, such as C{4096}, C{64KiB} or C{1GiB}; C{KiB MiB GiB TiB}, or only C{K M G T}, are
    powers of 1024, C{kB MB GB TB} of 1000.

    @raise ValueError: with the reason.
    """
    if not isinstance(value, str):
        return parse_whole(value)
    match = _size.fullmatch(value.strip())
    if match is None or match[2].lower() not in _units:
        raise ValueError("a size is a whole number of bytes, or one with a unit, such as 64KiB, 16MiB or 1GiB")
    return int(match[1]) * _units[match[2].lower()]


def parse_flag(value: object) -> bool:
    """
    Read a switch: C{on}, C{off}, C{true}, C{false}, C{yes}, C{no}, or a boolean.

    @raise ValueError: with the reason.
    """
    if isinstance(value, bool):
        return value
    switch = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}.get(str(value).lower())
    if switch is None:
        raise ValueError("it must be on or off")
    return switch


def sized(low: int = 1, high: int | None = None) -> Callable[[object], int]:
    """A parser of numbers of bytes within bounds, both included; C{None} for no upper one."""
    return lambda value: _between(parse_size(value), low, high, write_size)


def counted(low: int = 1, high: int | None = None) -> Callable[[object], int]:
    """A parser of whole numbers within bounds, both included; C{None} for no upper one."""
    return lambda value: _between(parse_whole(value), low, high)


def seconds(allow_zero: bool = False) -> Callable[[object], float]:
    """A parser of spans of time, in seconds; see L{parse_duration}."""
    return lambda value: parse_duration(value, 0 if allow_zero else math.ulp(0.0))


def one_of(*words: str) -> Callable[[object], str]:
    """A parser of one of these words, which are in lower case."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value.lower() not in words:
            raise ValueError(f"it must be {' or '.join(words)}")
        return value.lower()

    return parse


def name_of(*names: str) -> Callable[[object], str]:
    """A parser of one of these names, however it is capitalised."""
    by_lower = {name.lower(): name for name in names}

    def parse(value: object) -> str:
        if not isinstance(value, str) or value.lower() not in by_lower:
            raise ValueError(f"it must be {' or '.join(names)}")
        return by_lower[value.lower()]

    return parse


def or_off(parse: Callable[[object], T]) -> Callable[[object], T | int]:
    """A parser that takes C{off} for 0."""

    def parse_or_off(value: object) -> T | int:
        if value is False or (isinstance(value, str) and value.strip().lower() == OFF):
            return 0
        return parse(value)

    return parse_or_off


def parse_text(value: object) -> str:
    """@raise ValueError: unless it is a text that is not empty."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("a non-empty text is needed")
    return value


def parse_optional(value: object) -> str:
    """@raise ValueError: unless it is a text; it may be empty."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("a text is needed")
    return value


def parse_url(value: object) -> str:
    """@raise ValueError: unless it is a URL of https or http that others can be appended to: neither query nor user."""
    text = parse_text(value)
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in ("https", "http") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_one = False
    if not is_one or not text.isascii() or not text.isprintable() or any(mark in text for mark in " ?#@\\"):
        raise ValueError("a URL such as https://files.example.com is needed")
    return text


def parse_hosts(value: object) -> frozenset[str]:
    """
    Names of hosts with commas between, or a list of them, in lower case; C{*.NAME} is all names below one, C{off} is none.

    @raise ValueError: naming an invalid one.
    """
    if value is False or value == OFF:
        return frozenset()
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("host names separated by commas are needed")
    found = frozenset(name.strip().lower().removesuffix(".") for name in names if name.strip())
    for name in found:
        if not _host.match(name):
            raise ValueError(f"{name!r} is not a host name, such as files.example.com or *.example.com")
    return found


def parse_path_or_off(value: object) -> str:
    """A path; C{off} is none."""
    return "" if value is False or str(value).strip().lower() == OFF else parse_path(value)


def parse_path(value: object) -> str:
    """A path; C{~} is the home directory."""
    return os.path.expanduser(parse_text(value))
