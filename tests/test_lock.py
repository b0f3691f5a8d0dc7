"""C{requirements.lock}, for those who pin what they install."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from twisted.trial.unittest import SynchronousTestCase

CHECKOUT = Path(__file__).resolve().parent.parent


class LockTests(SynchronousTestCase):
    """C{requirements.lock} is of the C{setup.py} beside it: C{make lock} was run after the last change."""

    def setUp(self) -> None:
        text = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
        #: One text for each requirement, with its hashes.
        self.locked = re.findall(r"^\w(?:.*\\\n)*.*$", text, re.MULTILINE)
        self.text = text

    def required(self) -> list[Requirement]:
        """C{install_requires}."""
        tree = ast.parse((CHECKOUT / "setup.py").read_text(encoding="utf-8"))
        (found,) = (
            node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "install_requires"
        )
        return [Requirement(text) for text in ast.literal_eval(found)]

    def test_satisfies_setup(self) -> None:
        pinned = {}
        for text in self.locked:
            requirement = Requirement(text.partition("\\")[0])
            (specifier,) = requirement.specifier
            self.assertEqual(specifier.operator, "==", text)
            pinned[canonicalize_name(requirement.name)] = requirement, specifier.version
        for requirement in self.required():
            locked, version = pinned[canonicalize_name(requirement.name)]
            self.assertTrue(requirement.specifier.contains(version), f"{requirement}, but {version} is locked")
            for python in ("3.11", "3.12", "3.13"):
                environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
                if requirement.marker is None or requirement.marker.evaluate(environment):
                    self.assertTrue(locked.marker is None or locked.marker.evaluate(environment), locked)

    def test_has_hashes(self) -> None:
        self.assertGreater(len(self.locked), len(self.required()))
        for text in self.locked:
            self.assertRegex(text, r"--hash=sha256:[0-9a-f]{64}")

    def test_names_no_index(self) -> None:
        self.assertNotIn("://", self.text)
