"""
The clients, in an environment of their own: C{.s3-clients} in the checkout, made when it is first asked for.

Most come from PyPI, also those that are no Python, in the releases that requirements.lock names, with their digests; restic
comes from Debian.
"""

from __future__ import annotations

import fcntl
import io
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.integration.tools import needed, without_paths

__all__ = ["aws", "environment", "program", "python"]

_HERE = Path(__file__).resolve().parent
_LOCK = _HERE / "requirements.lock"

#: Seconds that pip may take.
_PATIENCE = 1200


def environment() -> Path:
    """
    The environment's directory; made anew when what it is made of has changed.

    A client that cannot be installed fails the tests that need it: it is not looked for elsewhere.
    """
    place = _HERE.parents[2] / ".s3-clients"
    made_of = place / "made-of"
    with _LOCK.open("rb") as held:
        # Tests run in several processes at once.
        fcntl.flock(held, fcntl.LOCK_EX)
        wanted = held.read()
        if not made_of.exists() or made_of.read_bytes() != wanted:
            shutil.rmtree(place, ignore_errors=True)
            _make(place)
            made_of.write_bytes(wanted)
    return place


def _make(place: Path) -> None:
    _run(sys.executable, "-m", "venv", str(place))
    pip = (str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    # All that is needed is in the file, and nothing is built.
    _run(*pip, "--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", str(_LOCK))
    (wheel,) = place.glob("lib/python*/site-packages/aws_cdk")
    _unpack_aws(wheel, place)
    shutil.rmtree(wheel)


def _unpack_aws(wheel: Path, place: Path) -> None:
    """The aws command is in a zip file in a tar file in the wheel, as a program with all that it needs beside it."""
    (packed,) = wheel.rglob("asset-awscli-v2@*.tgz")
    with tarfile.open(packed) as archive:
        member = archive.extractfile("package/lib/layer.zip")
        assert member is not None
        with zipfile.ZipFile(io.BytesIO(member.read())) as layer:
            layer.extractall(place / "aws")
    aws(place).chmod(stat.S_IRWXU)


def aws(place: Path | None = None) -> Path:
    """The path of the aws command, version 2."""
    (found,) = (place or environment()).glob("aws/awscli/v2/*/dist/aws")
    return found


def program(name: str) -> str:
    """The path of a client."""
    return needed(name)[0] if name in ("restic", "terraform") else str(environment() / "bin" / name)


def python() -> str:
    """The interpreter that has the libraries."""
    return str(environment() / "bin" / "python")


def _run(*command: str) -> None:
    # What builds something would fail: there is no compiler on its path.
    variables = {**without_paths(), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
