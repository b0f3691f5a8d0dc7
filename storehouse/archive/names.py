"""Names of archives: made from a template, matched with one, and sorted in the order of writing."""

from __future__ import annotations

import os
import re
from datetime import datetime

from storehouse.errors import InvalidSetting

__all__ = [
    "check_template",
    "is_ours_beside",
    "last_of",
    "make_name",
    "marker_of",
    "name_key",
    "numbered",
    "numbered_pattern",
    "template_pattern",
]

#: The most bytes of a name: file systems allow 255, and numbers and suffixes are added.
_MOST = 200

_UNSAFE = re.compile(r"[\x00-\x1f\x7f /:]")
_DIRECTIVE = re.compile(r"%[-_0^#:]*[A-Za-z%]")
_BESIDE = re.compile(r"\.torn(\.\d+)?$|^\..*\.(open|tmp|last)$")

#: A date as %c writes it, made safe.
_DATE = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)_([A-Z][a-z]{2})_{1,2}(\d{1,2})_(\d\d_\d\d_\d\d)_(\d{4})")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def make_name(template: str, now: datetime) -> str:
    """
    The name of an archive that is opened now. Spaces, colons, slashes and control characters become underscores, so that it
    is one component of a path.

    @param template: for C{strftime}.
    @raise InvalidSetting: if it does not give a name.
    """
    try:
        name = _UNSAFE.sub("_", now.strftime(template))
        length = len(os.fsencode(name))
    except (ValueError, UnicodeError) as problem:
        raise InvalidSetting(f"the file name template {template!r} is not usable: {problem}") from None
    if name in ("", ".", ".."):
        raise InvalidSetting(f"the file name template {template!r} gives {name!r}, which cannot be a file name")
    if length > _MOST:
        raise InvalidSetting(f"the file name template {template!r} gives a name of {length} bytes; {_MOST} are allowed")
    return name


def check_template(template: str) -> str:
    """@raise InvalidSetting: unless it is text that gives a name."""
    if not isinstance(template, str):
        raise InvalidSetting(f"a file name template is text, not {template!r}")
    if "\0" in template:
        raise InvalidSetting(f"the file name template {template!r} contains a zero byte")
    make_name(template, datetime(2001, 9, 19, 23, 59, 59, 999999))
    return template


def numbered(name: str, number: int) -> str:
    """The name with a number before its extension: it sorts behind C{name} and lower numbers."""
    if not number:
        return name
    stem, extension = os.path.splitext(name)
    return f"{stem}_{number:06d}{extension}"


def numbered_pattern(name: str) -> re.Pattern[str]:
    """Matches a name and all that L{numbered} makes of it."""
    stem, extension = os.path.splitext(name)
    return re.compile(rf"{re.escape(stem)}(_\d{{6,}})?{re.escape(extension)}", re.DOTALL)


def template_pattern(template: str) -> re.Pattern[str]:
    """Matches all names that a template makes, with numbers."""
    pieces = []
    at = 0
    for directive in _DIRECTIVE.finditer(template):
        pieces += [template[at : directive.start()], None if directive[0][-1] != "%" else "%"]
        at = directive.end()
    pieces.append(template[at:])
    # The extension begins at the last dot, which a directive may give: then the number may stand anywhere.
    made = "".join(".*" if piece is None else re.escape(_UNSAFE.sub("_", piece)) for piece in pieces)
    stem, dot, extension = made.rpartition(r"\.")
    if not dot or not stem:
        stem, extension = made, ""
    return re.compile(rf"{stem}(_\d{{6,}})?{dot if extension else ''}{extension}", re.DOTALL)


def marker_of(path: str) -> str:
    """The path of an archive's marker: it says that it is open, or which callbacks are left."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.open")


def last_of(directory: str, template: str) -> str:
    """The path of the note of a template's last archive: callbacks may have taken all of them elsewhere."""
    name = os.fsdecode(os.fsencode(_UNSAFE.sub("_", template))[:_MOST])
    return os.path.join(directory, f".{name}.last")


def is_ours_beside(name: str) -> bool:
    """Whether a file is a marker, a note, a torn tail or a temporary file of ours, beside archives."""
    return _BESIDE.search(name) is not None


def _sortable(date: re.Match[str]) -> str:
    month, day, time, year = date.groups()
    number = _MONTHS.index(month) + 1 if month in _MONTHS else 0
    return f"{year}_{number:02d}_{int(day):02d}_{time}"


def name_key(name: str) -> str:
    """A key that sorts names in the order of writing, as far as names tell it: dates of C{%c} are sorted as dates."""
    return _DATE.sub(_sortable, os.path.basename(name))
