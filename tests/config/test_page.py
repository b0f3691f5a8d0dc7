"""
docs/settings.rst has all settings, as they are declared.

C{python -m tests.config.test_page} writes the list in it anew.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from storehouse.config import Option, Settings, options
from storehouse.config.option import options_of, parts_of
from storehouse.config.shipping import Connecting, S3Settings, ShipperSettings, StoreSettings, SwiftSettings
from storehouse.config.tables import Stream

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.rst"

#: Stands before the list; behind it is nothing else.
MARK = ".. From here on made by: python -m tests.config.test_page\n"


def sections() -> Iterator[str]:
    """The list: first what is no door's, then a section for each door."""
    parts = parts_of(Settings)
    general = [each for each in options() if each.path[0] not in parts or each.path[0] in ("connections", "log")]
    yield from section("All doors", general)
    for name, settings in parts.items():
        title = (inspect.getdoc(settings) or "").partition("\n")[0].rstrip(".")
        listed = [each for each in options() if each.path[0] == name and each not in general]
        if listed:
            yield from section(title, listed)
    for title, declared in (
        ("Streams: ``[archive.streams.NAME]``", (Stream,)),
        ('Destinations: ``[destinations.NAME]`` with ``kind = "store"``', (StoreSettings,)),
        ('Destinations: ``[destinations.NAME]`` with ``kind = "s3"``', (S3Settings,)),
        ('Destinations: ``[destinations.NAME]`` with ``kind = "swift"``', (SwiftSettings,)),
        ("Connections: in destinations of ``s3`` and ``swift``", (Connecting,)),
        ("Shipping: ``shipping = {...}`` in a destination", (ShipperSettings,)),
    ):
        yield from section(title, [each for kind in declared for each in options_of(kind)], in_table=True)


def section(title: str, listed: list[Option], in_table: bool = False) -> Iterator[str]:
    """One section."""
    yield f"\n{title}\n{'-' * len(title)}\n\n"
    for option in listed:
        if in_table:
            yield from key(option)
            continue
        dashes = "--" if option.on_command_line else ""
        value = "" if option.is_flag and dashes else f" {option.kind}"
        shown = option.shown if " " in option.shown else f"``{option.shown}``"
        text = option.help.replace("*", r"\*")
        yield f"``{dashes}{option.name}{value}`` ({shown})\n    {text}.\n"


def key(option: Option) -> Iterator[str]:
    """One key of a table. What is secret is named."""
    name = option.path[-1]
    names = (
        f"``{name}_file = FILE`` or ``{name}_env = VARIABLE``" if option.is_secret else f"``{name} = {option.kind}``"
    )
    shown = "needed" if option.is_needed else option.shown if " " in option.shown else f"``{option.shown}``"
    yield f"{names} ({shown})\n    {option.help}.\n"


class PageTests(SynchronousTestCase):
    """The page."""

    def test_list(self) -> None:
        _, found, listed = PAGE.read_text(encoding="utf-8").partition(MARK)
        self.assertTrue(found)
        self.assertEqual(listed, "".join(sections()))


if __name__ == "__main__":
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(before + MARK + "".join(sections()), encoding="utf-8")
