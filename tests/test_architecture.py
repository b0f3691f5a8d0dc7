"""
The dependency rule of docs/architecture.rst, checked from the imports::

    errors, events <- core <- config <- storage.<room> <- frontends.<door> <- app <- cli, plugin, tac
                      core <- archive <- storage.<room>, app, cli
                      core, interfaces of storage <- clients <- cli
                      all below app <- testing

A room imports at most another room's interfaces and values, and the archive library; a door imports those of rooms, never a store
and never another door; only app.tap uses the reactor of the process. No two modules import each other, directly or through
others.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import storehouse

ROOT = Path(storehouse.__file__).resolve().parent
CHECKOUT = ROOT.parent

#: What uses the reactor of the process without being given one.
GLOBAL = {"twisted.internet.reactor", "twisted.internet.threads.deferToThread"}
MAY_USE_REACTOR = {"storehouse.app.tap", "storehouse.core.fast.reactor"}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package with its name."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@cache
def tree(path: Path) -> ast.Module:
    """The statements of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements in one, without the expressions in them, which are far more."""
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        for each in getattr(node, field, ()):
            yield each
            yield from statements(each)


def open_signatures(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The lines and names of public functions and methods that have C{Any} in their signatures."""
    for each in ast.iter_child_nodes(node):
        if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if each.name.startswith("_") and not each.name.endswith("__"):
                continue
            if not isinstance(each, ast.ClassDef):
                given = each.args
                arguments = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
                types = [each.returns, *(argument.annotation for argument in arguments if argument is not None)]
                if any(re.search(r"\bAny\b", ast.unparse(type)) for type in types if type is not None):
                    yield each.lineno, each.name
                continue
        yield from open_signatures(each)


@cache
def imports(path: Path) -> list[str]:
    """What a module imports, at its top and within functions; C{from a import b} is C{a.b}."""
    found = []
    for node in statements(tree(path)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found += [f"{base}.{alias.name}" for alias in node.names]
    return found


def inside(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of these or lies in it."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def circles(graph: Mapping[str, Collection[str]]) -> list[list[str]]:
    """
    Groups of modules that can be reached from one another: the strongly connected components of more than one module.

    @param graph: what each module imports.
    """
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        # Tarjan's algorithm: a module that reaches none above it on the path closes its component.
        order[module] = lowest[module] = len(order)
        path.append(module)
        for other in graph[module]:
            if other not in order:
                visit(other)
            if other in path:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == order[module]:
            component = path[path.index(module) :]
            del path[path.index(module) :]
            if len(component) > 1:
                found.append(sorted(component))

    for module in graph:
        if module not in order:
            visit(module)
    return found


def may_import(importer: str, name: str) -> bool:
    """Whether the rule lets one module of storehouse import a name of another."""
    parts = importer.split(".")
    layer = parts[1] if len(parts) > 1 else ""
    ground = ("storehouse.errors", "storehouse.events", "storehouse.__version__")
    if layer == "":
        return inside(name, "storehouse.archive", "storehouse.clients")
    if layer == "errors":
        return name == "storehouse.__version__"
    if layer == "events":
        return inside(name, "storehouse.errors")
    if layer == "core":
        if importer == "storehouse.core.native":
            return name == "storehouse._native"
        return inside(name, *ground, "storehouse.core")
    if layer == "config":
        return inside(name, *ground, "storehouse.core", "storehouse.config")
    if layer == "archive":
        return inside(name, *ground, "storehouse.core", "storehouse.archive")
    if layer == "clients":
        return inside(name, *ground, "storehouse.core", "storehouse.clients") or _is_interface(name)
    if layer == "storage":
        room = ".".join(parts[:3])
        below = ("storehouse.core", "storehouse.config", "storehouse.archive")
        return inside(name, *ground, *below, room) or _is_interface(name)
    if layer == "frontends":
        door = ".".join(parts[:3])
        if parts[2:3] == ["http"]:
            return inside(name, *ground, "storehouse.core", "storehouse.config", door)
        below = ("storehouse.core", "storehouse.config", "storehouse.frontends.http")
        return inside(name, *ground, *below, door) or _is_interface(name)
    if layer == "app":
        return not inside(name, "storehouse.testing") and _app_may_import(importer, name)
    if layer == "testing":
        below_app = ("core", "config", "archive", "storage", "frontends", "clients", "testing")
        return inside(name, *ground, *(f"storehouse.{each}" for each in below_app))
    if layer == "cli":
        below = (
            "storehouse.core",
            "storehouse.clients",
            "storehouse.config",
            "storehouse.archive",
            "storehouse.app.local",
            "storehouse.app.checking",
            "storehouse.app.ephemeral",
        )
        return inside(name, *ground, *below, "storehouse.cli") or _is_interface(name)
    return False


def _is_interface(name: str) -> bool:
    parts = name.split(".")
    if inside(name, "storehouse.storage.objects.permitted"):
        return True  # an interface of a store as somebody may use it, over that of any store
    return (parts[1] == "storage" and parts[3:4] in (["interfaces"], ["values"])) or inside(
        name, "storehouse.archive.interfaces"
    )


def _app_may_import(importer: str, name: str) -> bool:
    """Within app: the lifecycle knows nothing of what it opens, commands know no service and no door."""
    ground = (
        "storehouse.errors",
        "storehouse.events",
        "storehouse.__version__",
        "storehouse.core",
        "storehouse.config",
    )
    rooms = (*ground, "storehouse.archive", "storehouse.storage")
    module = ".".join(importer.split(".")[2:3])
    if module == "lifecycle":
        return inside(name, *ground)
    if module in ("archiving", "audit", "notifying", "sealing"):
        return inside(name, *rooms)
    if module == "acting":
        return inside(name, *rooms, "storehouse.app.lifecycle")
    if module == "ephemeral":
        return inside(name, *ground, "storehouse.app.service") or _is_interface(name)
    if module == "asking":
        return inside(name, *rooms, "storehouse.app.lifecycle", "storehouse.app.sealing")
    if module == "s3":
        doors = ("storehouse.frontends.http", "storehouse.frontends.s3")
        return inside(name, *rooms, *doors, "storehouse.app.lifecycle")
    if module == "uploading":
        doors = ("storehouse.frontends.http", "storehouse.frontends.upload")
        return inside(name, *rooms, *doors, "storehouse.app.lifecycle", "storehouse.app.sealing")
    if module == "local":
        parts = ("sealing", "archiving", "notifying", "local")
        return inside(name, *rooms, *(f"storehouse.app.{each}" for each in parts))
    if module == "service":
        return not inside(name, "storehouse.app.tap", "storehouse.cli", "storehouse.app.local", "storehouse.clients")
    return inside(name, *ground, "storehouse.app.service")


class ArchitectureTests(SynchronousTestCase):
    """The rule holds."""

    def test_imports_run_one_way(self) -> None:
        wrong = [
            f"{importer} imports {name}"
            for importer, path in modules()
            for name in imports(path)
            if inside(name, "storehouse") and not may_import(importer, name)
        ]
        self.assertEqual(wrong, [])

    def test_no_circles(self) -> None:
        """Nor for annotations, nor within functions: of modules in a circle none can be read, or tested, by itself."""
        paths = dict(modules())
        graph: dict[str, set[str]] = {name: set() for name in paths}
        for importer, path in paths.items():
            for name in imports(path):
                while name and name not in paths:
                    name = name.rpartition(".")[0]
                if name and name != importer:
                    graph[importer].add(name)
        self.assertEqual(circles(graph), [])

    def test_imports_are_absolute(self) -> None:
        wrong = [
            f"{importer} imports {name}"
            for importer, path in modules()
            for name in imports(path)
            if name.startswith(".")
        ]
        self.assertEqual(wrong, [])

    def test_reactor_is_a_parameter(self) -> None:
        wrong = [
            f"{importer} imports {name}"
            for importer, path in modules()
            if importer not in MAY_USE_REACTOR
            for name in imports(path)
            if name in GLOBAL
        ]
        self.assertEqual(wrong, [])

    def test_no_any_in_signatures(self) -> None:
        """What others call says what it takes and gives: a JSON value is an C{object} until it was looked at."""
        for name, path in modules():
            self.assertEqual([line for line, _ in open_signatures(tree(path))], [], name)

    def test_one_place_removes_objects(self) -> None:
        """Bytes of objects go where it is decided that nobody needs them, and nowhere else."""
        room = Path(storehouse.__file__).parent / "storage" / "objects"
        calls = re.compile(r"space\.(delete|set_aside)\(")
        found = {path.name for path in room.rglob("*.py") if calls.search(path.read_text(encoding="utf-8"))}
        self.assertEqual(found, {"removing.py"})

    def test_packages_say_what_they_are(self) -> None:
        wrong = [name for name, path in modules() if not ast.get_docstring(tree(path))]
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

    def test_circles(self) -> None:
        graph = {"a": "b", "b": "cd", "c": "a", "d": "e", "e": "d", "f": "ad", "g": ""}
        self.assertEqual(circles(graph), [["d", "e"], ["a", "b", "c"]])

    def test_open_signatures(self) -> None:
        """What is found of C{Any}, and what is not looked at."""
        for text in (
            "def f(a: Any): ...",
            "async def f() -> list[Any]: ...",
            "class C:\n    def __init__(self, *args: Any): ...",
            "class C:\n    def f(self, *, a: 'Callable[..., typing.Any]'): ...",
            "if True:\n    def f(**more: dict[str, Any]): ...",
        ):
            self.assertEqual(len(list(open_signatures(ast.parse(text)))), 1, text)
        for text in (
            "def _f(a: Any): ...",
            "class _C:\n    def f(self, a: Any): ...",
            "def f(a: object) -> None:\n    b: Any = a\n    def g(c: Any): ...",
        ):
            self.assertEqual(list(open_signatures(ast.parse(text))), [], text)

    def test_refused(self) -> None:
        for importer, name in [
            ("storehouse.errors", "storehouse.core.names.check"),
            ("storehouse.core.names", "storehouse.storage.appendlog.interfaces.IAppendLog"),
            ("storehouse.archive.archive", "storehouse.storage.appendlog.log.LocalAppendLog"),
            ("storehouse.storage.appendlog.log", "storehouse.frontends.http.reply.Reply"),
            ("storehouse.frontends.http.site", "storehouse.storage.appendlog.interfaces.IAppendLog"),
            ("storehouse.frontends.append.door", "storehouse.storage.appendlog.log.LocalAppendLog"),
            ("storehouse.frontends.append.door", "storehouse.frontends.admin.door.AdminDoor"),
            ("storehouse.frontends.admin.door", "storehouse.app.service.make_service"),
            ("storehouse.frontends.objects.door", "storehouse.storage.objects.store.LocalObjectStore"),
            ("storehouse.frontends.objects.door", "storehouse.frontends.append.resource.check_fields"),
            ("storehouse.app.lifecycle", "storehouse.storage.dataspace.wormer.WormerDataSpace"),
            ("storehouse.app.lifecycle", "storehouse.frontends.http.site.DoorSite"),
            ("storehouse.app.lifecycle", "storehouse.app.service.make_service"),
            ("storehouse.app.service", "storehouse.app.tap.Options"),
            ("storehouse.app.service", "storehouse.app.local.objects.LocalObjects"),
            ("storehouse.app.local", "storehouse.app.service.make_service"),
            ("storehouse.app.sealing", "storehouse.app.service.make_service"),
            ("storehouse.app.uploading", "storehouse.app.service.make_service"),
            ("storehouse.app.uploading", "storehouse.frontends.sfsp.chunks.Chunks"),
            ("storehouse.app.sealing", "storehouse.frontends.http.reply.Reply"),
            ("storehouse.cli.keys", "storehouse.app.sealing.make_vault"),
            ("storehouse.storage.sealed.dataspace", "storehouse.storage.dataspace.wormer.WormerDataSpace"),
            ("storehouse.storage.sealed.namespace", "storehouse.storage.namespace.index.Index"),
            ("storehouse.app.local", "storehouse.frontends.http.reply.Reply"),
            ("storehouse.cli.scrub", "storehouse.storage.dataspace.scrub.scrub"),
            ("storehouse.cli.scrub", "storehouse.app.service.make_service"),
            ("storehouse.archive.archive", "storehouse.storage.shipping.shipper.Shipper"),
            ("storehouse.archive.archive", "storehouse.config.Settings"),
            ("storehouse.frontends.archive.door", "storehouse.archive.archive.ArchiveWriter"),
            ("storehouse.app.tap", "storehouse.storage.appendlog.log.LocalAppendLog"),
            ("storehouse.clients.sfsp.client", "storehouse.frontends.sfsp.door.SFSPDoor"),
            ("storehouse.clients.sfsp.client", "storehouse.config.Settings"),
            ("storehouse.clients.sfsp.client", "storehouse.cli.errors.CommandError"),
            ("storehouse.frontends.sfsp.door", "storehouse.clients.sfsp.SFSPClient"),
            ("storehouse.core.sfsp", "storehouse.clients.sfsp.SFSPClient"),
            ("storehouse.app.service", "storehouse.clients.sfsp.SFSPClient"),
            ("storehouse.app.service", "storehouse.testing.MemoryAccounts"),
            ("storehouse.storage.objects.store", "storehouse.testing.MemoryNamespace"),
            ("storehouse.cli.users", "storehouse.testing.MemoryAccounts"),
            ("storehouse.testing.objects", "storehouse.app.service.make_service"),
        ]:
            self.assertFalse(may_import(importer, name), f"{importer} -> {name}")

    def test_allowed(self) -> None:
        for importer, name in [
            ("storehouse.core.names", "storehouse.errors.InvalidName"),
            ("storehouse.storage.appendlog.log", "storehouse.storage.appendlog.bucket.BucketFile"),
            ("storehouse.frontends.append.door", "storehouse.storage.appendlog.interfaces.IAppendLog"),
            ("storehouse.frontends.append.door", "storehouse.frontends.http.reply.Reply"),
            ("storehouse.testing.objects", "storehouse.storage.objects.store.LocalObjectStore"),
            ("storehouse.app.service", "storehouse.storage.appendlog.log.LocalAppendLog"),
            ("storehouse.app.service", "storehouse.app.lifecycle.StorehouseService"),
            ("storehouse.app.lifecycle", "storehouse.core.sockets.listen"),
            ("storehouse.app.tap", "storehouse.app.service.make_service"),
            ("storehouse.app.local", "storehouse.storage.dataspace.wormer.WormerDataSpace"),
            ("storehouse.app.local", "storehouse.app.sealing.make_space"),
            ("storehouse.app.service", "storehouse.app.sealing.make_space"),
            ("storehouse.app.service", "storehouse.app.uploading.add_uploads"),
            ("storehouse.app.uploading", "storehouse.frontends.upload.door.UploadDoor"),
            ("storehouse.app.sealing", "storehouse.storage.sealed.dataspace.SealedDataSpace"),
            ("storehouse.cli.scrub", "storehouse.app.local.objects.LocalObjects"),
            ("storehouse.cli.archive.ls", "storehouse.archive.archive.ArchiveReader"),
            ("storehouse.storage.streams.stream", "storehouse.archive.archive.ArchiveWriter"),
            ("storehouse.archive.archive", "storehouse.archive.archive.ArchiveReader"),
            ("storehouse.cli.options", "storehouse.config.load_settings"),
            ("storehouse.archive.roll_manager", "storehouse.archive.roll_manager.WritingRollManager"),
            ("storehouse.clients.sfsp.client", "storehouse.core.sfsp.ResponseDecoder"),
            ("storehouse.cli.sfsp.put", "storehouse.clients.sfsp.SFSPClient"),
        ]:
            self.assertTrue(may_import(importer, name), f"{importer} -> {name}")
