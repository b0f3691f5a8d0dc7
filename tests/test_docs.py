"""The pages of docs/ can be found and lead somewhere, and what docs/operations hands out fits the program."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

from storehouse.app.tap import Options
from storehouse.config import options

CHECKOUT = Path(__file__).resolve().parent.parent

#: Targets of links, as reStructuredText and Markdown write them; none to other sites.
_links = re.compile(r"`[^`<]+<(?!\w+:)([^>\s#]+)[^>\s]*>`_|\]\((?!\w+:)([^)\s#]+)[^)\s]*\)")

#: What can only be a setting of a door.
_settings = re.compile(r"``((?:append|archive|https|sfsp|objects)-[a-z-]+)``")


def links(page: Path) -> set[Path]:
    """The files that a page links to."""
    found = _links.findall(page.read_text(encoding="utf-8"))
    return {(page.parent / (first or second)).resolve() for first, second in found}


class LinkTests(SynchronousTestCase):
    """Relative links, as they are followed in a checkout."""

    def setUp(self) -> None:
        docs = CHECKOUT / "docs"
        self.pages = {*CHECKOUT.glob("*.rst"), *docs.rglob("*.rst"), *docs.rglob("*.md")}

    def test_lead_somewhere(self) -> None:
        missing = {(page.name, link.name) for page in self.pages for link in links(page) if not link.exists()}
        self.assertEqual(missing, set())

    def test_index_has_all(self) -> None:
        index = CHECKOUT / "docs" / "index.rst"
        found = links(index) | links(CHECKOUT / "README.rst")
        self.assertEqual(
            {str(page.relative_to(CHECKOUT)) for page in self.pages - found - {CHECKOUT / "README.rst"}}, set()
        )


class MarkupTests(SynchronousTestCase):
    """Pages are reStructuredText without errors: tables that are cut off are not shown at all."""

    def test_parse(self) -> None:
        for page in sorted({*CHECKOUT.glob("*.rst"), *CHECKOUT.glob("bench/*.rst"), *CHECKOUT.glob("docs/*.rst")}):
            found = io.StringIO()
            settings = {"report_level": 3, "halt_level": 5, "warning_stream": found}
            publish_doctree(page.read_text(encoding="utf-8"), str(page), settings_overrides=settings)
            self.assertEqual(found.getvalue(), "")


class SettingTests(SynchronousTestCase):
    """Pages name settings as they are called, and give the command line only those that it takes."""

    def test_names(self) -> None:
        names = {option.name: option.on_command_line for option in options()}
        for page in sorted(
            {*CHECKOUT.glob("*.rst"), *CHECKOUT.glob("docs/*.rst"), *CHECKOUT.glob("docs/formats/*.md")}
        ):
            text = page.read_text(encoding="utf-8")
            for name in _settings.findall(text):
                self.assertIn(name, names, page.name)
            for name in re.findall(r"`--([a-z-]+)[ `=]", text):
                self.assertTrue(names.get(name, True), f"{page.name}: --{name}")


class DeploymentTests(SynchronousTestCase):
    """What docs/operations hands out starts storehouse with options that there are."""

    def read(self, name: str) -> str:
        return (CHECKOUT / "docs" / "operations" / name).read_text(encoding="utf-8")

    def check(self, words: list[str]) -> None:
        """Parse a command line as storehouse does. (That of twistd would install its reactor.)"""
        self.assertTrue(words[0].endswith("twistd"))
        self.assertEqual(words[1:5], ["--nodaemon", "--pidfile=", "--reactor=storehouse", "storehouse"])
        parsed = Options()
        parsed.parseOptions(words[5:])
        self.assertIn("root", parsed.given)

    def test_unit(self) -> None:
        (command,) = re.findall(r"^ExecStart=(.*)", self.read("storehouse.service"), re.MULTILINE)
        self.check(command.split())

    def test_container(self) -> None:
        text = self.read("Containerfile")
        self.check(
            [
                word
                for name in ("ENTRYPOINT", "CMD")
                for word in json.loads(text.partition(f"\n{name} ")[2].splitlines()[0])
            ]
        )
