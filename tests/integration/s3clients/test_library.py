"""The client of storehouse, as docs/library.rst shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.integration.process import CHECKOUT, PATIENCE
from tests.integration.s3clients.case import S3Case


class LibraryTests(S3Case):
    """Its program runs as it is printed."""

    def test_program(self) -> None:
        page = Path(CHECKOUT, "docs", "library.rst").read_text(encoding="utf-8").partition("\nS3\n==\n")[2]
        (program,) = re.findall(r"^::\n\n((?:    .*\n|\n)+)", page, re.MULTILINE)
        path = self.place / "program.py"
        path.write_text(textwrap.dedent(program), encoding="utf-8")
        words = [self.house.endpoint, self.house.key_id, self.house.secret]
        if self.secure:
            words.append(str(self.house.certificate))
        done = subprocess.run(
            [sys.executable, "-W", "error", str(path), *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(
            done.stdout.splitlines(),
            [
                "5d41402abc4b2a76b9719d911017c592 5",
                "b'ell' {'from': ['bob']}",
                "there is one",
                "[('ann/1', 5), ('ann/long', 20971520)]",
            ],
        )


class SecureLibraryTests(LibraryTests):
    """Over TLS."""

    secure = True
