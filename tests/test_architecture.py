"""
The dependency rule of docs/architecture.rst, checked from the imports::

    errors, events <- core <- storage.<room> <- frontends.<door> <- service <- tap, plugin, tac
                              storage.<room> <- archiving <- service
                              storage.<room> <- sealing <- service, local
                              frontends.upload, lifecycle <- uploading <- service
                      core <- tables <- config <- lifecycle <- service
                              storage.<room> <- local <- cli
                              storage.archive <- archive <- cli
                      core <- clients <- cli

A room imports at most another room's interfaces; a door imports interfaces of rooms, never a store and never another
door; only tap uses the reactor of the process.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import storehouse

ROOT = Path(storehouse.__file__).resolve().parent
CHECKOUT = ROOT.parent

#: What uses the reactor of the process without being given one.
GLOBAL = {"twisted.internet.reactor", "twisted.internet.threads.deferToThread"}
MAY_USE_REACTOR = {"storehouse.tap", "storehouse.core.fastreactor"}

MAX_LINES = 400


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package with its name."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(source: str) -> Iterator[str]:
    """What a module imports, at its top and within functions; C{from a import b} is C{a.b}."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def inside(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of these or lies in it."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def may_import(importer: str, name: str) -> bool:
    """Whether the rule lets one module of storehouse import a name of another."""
    parts = importer.split(".")
    layer = parts[1] if len(parts) > 1 else ""
    ground = ("storehouse.errors", "storehouse.events", "storehouse.__version__")
    if layer in ("", "errors"):
        return name == "storehouse.__version__"
    if layer == "events":
        return inside(name, "storehouse.errors")
    if layer == "core":
        if importer == "storehouse.core.native":
            return name == "storehouse._native"
        return inside(name, *ground, "storehouse.core")
    if layer == "lifecycle":
        return inside(name, *ground, "storehouse.core", "storehouse.config")
    if layer == "config":
        return inside(name, *ground, "storehouse.core", "storehouse.tables", "storehouse.config")
    if layer == "tables":
        return inside(name, *ground, "storehouse.core")
    if layer in ("archiving", "sealing"):
        below = ("storehouse.core", "storehouse.config", "storehouse.tables", "storehouse.storage")
        return inside(name, *ground, *below)
    if layer == "uploading":
        doors = ("storehouse.frontends.http", "storehouse.frontends.upload")
        below = ("storehouse.core", "storehouse.config", "storehouse.lifecycle", "storehouse.storage")
        return inside(name, *ground, *below, *doors)
    if layer == "cli":
        below = ("storehouse.core", "storehouse.clients", "storehouse.config", "storehouse.local", "storehouse.archive")
        return inside(name, *ground, *below, "storehouse.cli")
    if layer == "clients":
        return inside(name, *ground, "storehouse.core", "storehouse.clients")
    if layer == "storage":
        room = ".".join(parts[:3])
        return inside(name, *ground, "storehouse.core", room) or _is_interface(name)
    if layer == "frontends":
        door = ".".join(parts[:3])
        if parts[2:3] == ["http"]:
            return inside(name, *ground, "storehouse.core", door)
        return inside(name, *ground, "storehouse.core", "storehouse.frontends.http", door) or _is_interface(name)
    if layer == "local":
        below = ("storehouse.core", "storehouse.config", "storehouse.storage", "storehouse.sealing")
        return inside(name, *ground, *below, "storehouse.local")
    if layer == "archive":
        return inside(name, *ground, "storehouse.core", "storehouse.storage.archive", "storehouse.archive")
    if layer == "service":
        return not inside(name, "storehouse.tap", "storehouse.cli", "storehouse.local", "storehouse.clients")
    if layer == "tap":
        return inside(name, *ground, "storehouse.core", "storehouse.config", "storehouse.service")
    return False


def _is_interface(name: str) -> bool:
    parts = name.split(".")
    return parts[1] == "storage" and parts[3:4] == ["interfaces"]


class ArchitectureTests(SynchronousTestCase):
    """The rule holds."""

    def test_imports_run_one_way(self) -> None:
        wrong = [
            f"{importer} imports {name}"
            for importer, path in modules()
            for name in imports(path.read_text(encoding="utf-8"))
            if inside(name, "storehouse") and not may_import(importer, name)
        ]
        self.assertEqual(wrong, [])

    def test_imports_are_absolute(self) -> None:
        wrong = [
            f"{importer} imports {name}"
            for importer, path in modules()
            for name in imports(path.read_text(encoding="utf-8"))
            if name.startswith(".")
        ]
        self.assertEqual(wrong, [])

    def test_reactor_is_a_parameter(self) -> None:
        wrong = [
            f"{importer} imports {name}"
            for importer, path in modules()
            if importer not in MAY_USE_REACTOR
            for name in imports(path.read_text(encoding="utf-8"))
            if name in GLOBAL
        ]
        self.assertEqual(wrong, [])

    def test_one_place_removes_objects(self) -> None:
        """Bytes of objects go where it is decided that nobody needs them, and nowhere else."""
        room = Path(storehouse.__file__).parent / "storage" / "objects"
        calls = re.compile(r"space\.(delete|set_aside)\(")
        found = {path.name for path in room.rglob("*.py") if calls.search(path.read_text(encoding="utf-8"))}
        self.assertEqual(found, {"removing.py"})

    def test_no_long_file(self) -> None:
        lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules()}
        self.assertEqual({name: lines for name, lines in lengths.items() if lines > MAX_LINES}, {})

    def test_packages_say_what_they_are(self) -> None:
        wrong = [name for name, path in modules() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
        self.assertEqual(wrong, [])

    def test_twisted_stays_twisteds(self) -> None:
        """An C{__init__.py} of ours under twisted/ would hide Twisted itself."""
        self.assertEqual(
            list((CHECKOUT / "twisted").rglob("__init__.py")) if (CHECKOUT / "setup.py").exists() else [], []
        )

    def test_tests_are_packages(self) -> None:
        tests = Path(__file__).resolve().parent
        self.assertEqual(
            [str(path) for path in {p.parent for p in tests.rglob("*.py")} if not (path / "__init__.py").exists()], []
        )


class RuleTests(SynchronousTestCase):
    """The rule says no where it should."""

    def test_refused(self) -> None:
        for importer, name in [
            ("storehouse.errors", "storehouse.core.names.check"),
            ("storehouse.core.names", "storehouse.storage.appendlog.interfaces.IAppendLog"),
            ("storehouse.storage.archive.writer", "storehouse.storage.appendlog.log.LocalAppendLog"),
            ("storehouse.storage.appendlog.log", "storehouse.frontends.http.reply.Reply"),
            ("storehouse.frontends.http.site", "storehouse.storage.appendlog.interfaces.IAppendLog"),
            ("storehouse.frontends.append.door", "storehouse.storage.appendlog.log.LocalAppendLog"),
            ("storehouse.frontends.append.door", "storehouse.frontends.admin.door.AdminDoor"),
            ("storehouse.frontends.admin.door", "storehouse.service.make_service"),
            ("storehouse.frontends.objects.door", "storehouse.storage.objects.store.LocalObjectStore"),
            ("storehouse.frontends.objects.door", "storehouse.frontends.append.params.check_fields"),
            ("storehouse.lifecycle", "storehouse.storage.dataspace.wormer.WormerDataSpace"),
            ("storehouse.lifecycle", "storehouse.frontends.http.site.DoorSite"),
            ("storehouse.lifecycle", "storehouse.service.make_service"),
            ("storehouse.service", "storehouse.tap.Options"),
            ("storehouse.service", "storehouse.local.LocalObjects"),
            ("storehouse.local", "storehouse.service.make_service"),
            ("storehouse.sealing", "storehouse.service.make_service"),
            ("storehouse.uploading", "storehouse.service.make_service"),
            ("storehouse.uploading", "storehouse.frontends.sfsp.chunks.Chunks"),
            ("storehouse.sealing", "storehouse.frontends.http.reply.Reply"),
            ("storehouse.cli.rekey", "storehouse.sealing.make_vault"),
            ("storehouse.storage.namespace.sealed", "storehouse.storage.dataspace.sealed.SealedDataSpace"),
            ("storehouse.local", "storehouse.frontends.http.reply.Reply"),
            ("storehouse.cli.scrub", "storehouse.storage.dataspace.scrub.scrub"),
            ("storehouse.cli.scrub", "storehouse.service.make_service"),
            ("storehouse.cli.archive.ls", "storehouse.storage.archive.reader.ArchiveReader"),
            ("storehouse.archive.archive", "storehouse.storage.shipping.shipper.Shipper"),
            ("storehouse.archive.archive", "storehouse.config.Settings"),
            ("storehouse.storage.archive.reader", "storehouse.archive.archive.ArchiveReader"),
            ("storehouse.tap", "storehouse.storage.appendlog.log.LocalAppendLog"),
            ("storehouse.clients.sfsp.client", "storehouse.frontends.sfsp.door.SFSPDoor"),
            ("storehouse.clients.sfsp.client", "storehouse.config.Settings"),
            ("storehouse.clients.sfsp.client", "storehouse.cli.errors.CommandError"),
            ("storehouse.frontends.sfsp.door", "storehouse.clients.sfsp.SFSPClient"),
            ("storehouse.core.sfsp", "storehouse.clients.sfsp.SFSPClient"),
            ("storehouse.service", "storehouse.clients.sfsp.SFSPClient"),
        ]:
            self.assertFalse(may_import(importer, name), f"{importer} -> {name}")

    def test_allowed(self) -> None:
        for importer, name in [
            ("storehouse.core.names", "storehouse.errors.InvalidName"),
            ("storehouse.storage.archive.writer", "storehouse.storage.appendlog.interfaces.IAppendLog"),
            ("storehouse.storage.appendlog.log", "storehouse.storage.appendlog.bucket.BucketFile"),
            ("storehouse.frontends.append.door", "storehouse.storage.appendlog.interfaces.IAppendLog"),
            ("storehouse.frontends.append.door", "storehouse.frontends.http.reply.Reply"),
            ("storehouse.service", "storehouse.storage.appendlog.log.LocalAppendLog"),
            ("storehouse.service", "storehouse.lifecycle.StorehouseService"),
            ("storehouse.lifecycle", "storehouse.core.sockets.listen"),
            ("storehouse.tap", "storehouse.service.make_service"),
            ("storehouse.local", "storehouse.storage.dataspace.wormer.WormerDataSpace"),
            ("storehouse.local", "storehouse.sealing.make_space"),
            ("storehouse.service", "storehouse.sealing.make_space"),
            ("storehouse.service", "storehouse.uploading.add_uploads"),
            ("storehouse.uploading", "storehouse.frontends.upload.door.UploadDoor"),
            ("storehouse.sealing", "storehouse.storage.dataspace.sealed.SealedDataSpace"),
            ("storehouse.cli.scrub", "storehouse.local.LocalObjects"),
            ("storehouse.cli.archive.ls", "storehouse.archive.archive.ArchiveReader"),
            ("storehouse.archive.archive", "storehouse.storage.archive.reader.ArchiveReader"),
            ("storehouse.cli.local", "storehouse.config.load_settings"),
            ("storehouse.archive.roll_manager", "storehouse.storage.archive.writing.WritingRollManager"),
            ("storehouse.clients.sfsp.client", "storehouse.core.sfsp.AnswerDecoder"),
            ("storehouse.cli.sfsp.put", "storehouse.clients.sfsp.SFSPClient"),
        ]:
            self.assertTrue(may_import(importer, name), f"{importer} -> {name}")
