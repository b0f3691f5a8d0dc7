"""The source distribution, and the wheel that is built from it, on a machine without a compiler."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.process import PATIENCE, Storehouse
from tests.integration.tools import needed, without_paths

CHECKOUT = Path(__file__).resolve().parent.parent.parent

#: What setuptools adds to a source distribution.
_added = re.compile(r"PKG-INFO|setup\.cfg|storehouse_server\.egg-info/.*")


def run(*words: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """
    What a program prints.

    @raise AssertionError: with all that it printed, if it fails.
    """
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        raise AssertionError(f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def build(kind: str, source: Path, target: Path) -> Path:
    """
    What a front end such as pip has setuptools build, without the network.

    @param kind: C{sdist} or C{wheel}.
    """
    hook = f"import sys; from setuptools.build_meta import build_{kind}; print(build_{kind}(sys.argv[1]))"
    return target / run(sys.executable, "-c", hook, target, cwd=source).splitlines()[-1]


class DistributionTests(SynchronousTestCase):
    """From the sources to a service that runs, as those who install it go."""

    def test_from_source_to_service(self) -> None:
        needed("git", "cc")
        names = [
            name
            for name in run("git", "ls-files", "-co", "--exclude-standard", cwd=CHECKOUT).splitlines()
            if (CHECKOUT / name).is_file()
        ]
        directory = Path(self.mktemp()).resolve()
        for name in names:
            target = directory / "sources" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, target)

        sdist = build("sdist", directory / "sources", directory)
        with tarfile.open(sdist) as tar:
            packed = {name.partition("/")[2] for name in tar.getnames() if not tar.getmember(name).isdir()}
            tar.extractall(directory, filter="data")
        self.assertEqual({name for name in packed if not _added.fullmatch(name)}, set(names))

        wheel = build("wheel", directory / sdist.name.removesuffix(".tar.gz"), directory)
        self.assertRegex(wheel.name, r"^storehouse_server-[0-9.]+-cp311-abi3-linux_\w+\.whl$")
        installed = {name for name in names if name.startswith("storehouse/") or name.endswith("_plugin.py")}
        packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
        self.assertEqual(packed, installed | {"storehouse/_native.abi3.so"})
        with zipfile.ZipFile(wheel) as archive:
            (entries,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
            self.assertIn("[pytest11]\nstorehouse = storehouse.testing.pytest", archive.read(entries).decode())

        self.serve(self.install(wheel, directory / "venv"), directory / "service")

    def install(self, wheel: Path, directory: Path) -> Path:
        """
        A virtual environment that has the wheel, and finds what it depends on where this test does.

        @return: where its commands are.
        """
        venv.create(directory)
        commands = directory / "bin"
        run(
            *(sys.executable, "-m", "pip", "--python", commands / "python", "--disable-pip-version-check"),
            *("install", "--no-deps", "--no-index", wheel),
            cwd=directory,
            env=without_paths(),
        )
        library = next(directory.glob("lib/python*/site-packages"))
        (library / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
        return commands

    def serve(self, commands: Path, directory: Path) -> None:
        """Start the service, put and get. Nothing but what is installed is on the path: no compiler above all."""
        house = Storehouse(str(directory), "--sfsp", "off", fork=False)
        house.command[0] = str(commands / "python")
        house.environment = {"PATH": str(commands), "PYTHONUNBUFFERED": "1"}
        self.addCleanup(house.kill)
        house.start()
        self.assertEqual(json.loads(house.ask(house.admin_port, "GET", "/version")[1])["native"], "yes")
        stored = json.loads(house.ask(house.append_port, "POST", "/append?id=x", b"some text")[1])
        found = house.ask(house.append_port, "GET", f"/get?id=x&offset={stored['offset']}")
        self.assertEqual(found, (200, b"some text"))

        def storehouse(*words: str) -> str:
            return subprocess.run(
                [commands / "storehouse", *words],
                cwd=directory,
                env=house.environment,
                stdout=subprocess.PIPE,
                timeout=PATIENCE,
                check=True,
                text=True,
            ).stdout

        (directory / "a.txt").write_text("an object")
        storehouse("mb", "notes")
        storehouse("put", "a.txt", "notes/a.txt")
        self.assertEqual(storehouse("cat", "notes/a.txt"), "an object")
        self.assertEqual(house.stop(), -signal.SIGTERM)
