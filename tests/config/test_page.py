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
from storehouse.config.option import parts_of

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


def section(title: str, listed: list[Option]) -> Iterator[str]:
    """One section."""
    yield f"\n{title}\n{'-' * len(title)}\n\n"
    for option in listed:
        dashes = "--" if option.on_command_line else ""
        value = "" if option.is_flag and dashes else f" {option.kind}"
        shown = option.shown if " " in option.shown else f"``{option.shown}``"
        text = option.help.replace("*", r"\*")
        yield f"``{dashes}{option.name}{value}`` ({shown})\n    {text}.\n"


class PageTests(SynchronousTestCase):
    """The page."""

    def test_list(self) -> None:
        _, found, listed = PAGE.read_text(encoding="utf-8").partition(MARK)
        self.assertTrue(found)
        self.assertEqual(listed, "".join(sections()))


if __name__ == "__main__":
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(before + MARK + "".join(sections()), encoding="utf-8")
