"""
What one request opens: C{python -m bench.flow}.

A service runs with a profiler in every thread. Each kind of request is made once to have made what is made once; then for
another the script prints how many of our modules were entered, how many lines and functions they have, how many
calls were made, and how many of our frames stood on one another at most. Few rooms, small and near each other, is what a
reader has to hold in mind.

L{LIMITS} are kept by a test.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from struct import pack
from types import FrameType
from typing import Any

import attrs

from bench.harness import CHECKOUT, HOST, BenchError, format_table, free_port, running

__all__ = ["LIMITS", "Flow", "main", "measured"]

#: Of each kind of request: modules and frames that it may have at most.
LIMITS = {
    "append": (16, 9),
    "get of a record": (14, 8),
    "form of 2 kB": (36, 28),
    "form of 8 MiB": (36, 28),
    "PUT of 8 MiB": (35, 20),
    "GET of 8 MiB": (34, 26),
    "tus, 8 MiB": (45, 25),
    "SFSP send": (30, 19),
    "SFSP receive": (28, 17),
}

_LARGE = 8 << 20


@attrs.frozen
class Flow:
    """
    What a request opened.

    @ivar modules: paths of modules, in the package.
    @ivar lines: that these have together.
    @ivar functions: that were called.
    @ivar calls: of them.
    @ivar deepest: the names of our frames when most were there, outermost first.
    """

    modules: list[str]
    lines: int
    functions: int
    calls: int
    deepest: list[str]


# -- the server ------------------------------------------------------------------------------------


class _Recorder:
    """Counts our calls between two signals; the second has it write what it found."""

    def __init__(self, package: str, result: Path) -> None:
        self._top = package + os.sep
        self._result = result
        self._is_on = False
        self._calls: Counter[tuple[str, str]] = Counter()
        self._deepest: list[str] = []

    def start(self) -> None:
        """Be ready for signals, in this thread and in those to come."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        signal.signal(signal.SIGUSR1, self._begin)
        signal.signal(signal.SIGUSR2, self._end)

    def _profile(self, frame: FrameType, event: str, argument: object) -> None:
        if not self._is_on or event != "call" or not frame.f_code.co_filename.startswith(self._top):
            return
        self._calls[self._name(frame)] += 1
        stack = []
        above: FrameType | None = frame
        while above is not None:
            if above.f_code.co_filename.startswith(self._top):
                stack.append(":".join(self._name(above)))
            above = above.f_back
        if len(stack) > len(self._deepest):
            self._deepest = stack[::-1]

    def _name(self, frame: FrameType) -> tuple[str, str]:
        return frame.f_code.co_filename[len(self._top) :], frame.f_code.co_qualname

    def _begin(self, *ignored: object) -> None:
        self._calls.clear()
        self._deepest = []
        self._result.with_suffix(".on").touch()
        self._is_on = True

    def _end(self, *ignored: object) -> None:
        self._is_on = False
        modules = sorted({module for module, _ in self._calls})
        found = {
            "modules": modules,
            "lines": sum(len(Path(self._top, module).read_bytes().splitlines()) for module in modules),
            "functions": len(self._calls),
            "calls": sum(self._calls.values()),
            "deepest": self._deepest,
        }
        written = self._result.with_suffix(".new")
        written.write_text(json.dumps(found))
        written.rename(self._result)


def _serve(result: Path, arguments: Sequence[str]) -> None:
    import storehouse

    _Recorder(str(Path(storehouse.__file__).parent), result).start()
    sys.argv = ["twistd", *arguments]
    from twisted.scripts.twistd import run

    run()


# -- the requests ----------------------------------------------------------------------------------


class _Clients:
    """Makes requests, each over a connection of its own."""

    def __init__(self, append: int, https: int, sfsp: int, root: Path) -> None:
        self._append = append
        self._https = https
        self._sfsp = sfsp
        command = [sys.executable, "-m", "storehouse.cli", "user", "add", "flow", "--json", "--root", str(root)]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, check=False
        )
        if done.returncode:
            raise BenchError(f"no user could be made: {done.stderr[-2000:]}")
        user = json.loads(done.stdout)
        token = base64.b64encode(f"{user['key_id']}:{user['secret']}".encode()).decode()
        self._authorization = {"Authorization": f"Basic {token}"}
        self._uploads = 0
        self._context = ssl.create_default_context(cafile=str(root / "tls" / "certificate.pem"))

    def append(self) -> None:
        self._ask(HTTPConnection(HOST, self._append), "POST", "/append?id=x", b"some text")

    def get(self) -> None:
        self._ask(HTTPConnection(HOST, self._append), "GET", "/get?id=x&offset=0")

    def form(self, size: int) -> None:
        head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="form.bin"\r\n\r\n'
        body = head + bytes(size) + b"\r\n--edge--\r\n"
        self._upload("POST", "/upload", body, {"Content-Type": "multipart/form-data; boundary=edge"})

    def put(self) -> None:
        self._upload("PUT", "/upload/put.bin", bytes(_LARGE))

    def download(self) -> None:
        self._upload("GET", "/download/put.bin")

    def tus(self) -> None:
        self._uploads += 1
        name = base64.b64encode(b"tus%d.bin" % self._uploads).decode()
        fields = {"Tus-Resumable": "1.0.0", "Upload-Length": str(_LARGE), "Upload-Metadata": f"filename {name}"}
        location = self._upload("POST", "/tus/", b"", fields)["location"]
        fields = {
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream",
        }
        self._upload("PATCH", "/tus/" + location.rpartition("/")[2], bytes(_LARGE), fields)

    def send(self) -> None:
        self._chunk(b"*", pack("<QQ", 1, 5) + b"hello")

    def receive(self) -> None:
        self._chunk(b"/", pack("<Q", 1))

    def _upload(
        self, method: str, path: str, body: bytes | None = None, fields: dict[str, str] | None = None
    ) -> dict[str, str]:
        connection = HTTPSConnection("localhost", self._https, context=self._context)
        return self._ask(connection, method, path, body, {**self._authorization, **(fields or {})})

    def _ask(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: bytes | None = None,
        fields: dict[str, str] | None = None,
    ) -> dict[str, str]:
        with contextlib.closing(connection):
            connection.request(method, path, body, fields or {})
            response = connection.getresponse()
            text = response.read()
            if response.status >= 300:
                raise BenchError(f"{method} {path}: {response.status} {text[:200]!r}")
            return {name.lower(): value for name, value in response.getheaders()}

    def _chunk(self, kind: bytes, rest: bytes) -> None:
        name = b"notes"
        with socket.create_connection((HOST, self._sfsp)) as connection:
            connection.sendall(kind + pack("<Q", len(name)) + name + rest)
            if not connection.recv(100):
                raise BenchError("SFSP: no response")


@contextlib.contextmanager
def _service(directory: Path) -> Iterator[tuple[_Clients, Callable[[Callable[[], None]], Flow]]]:
    root, result = directory / "root", directory / "flow.json"
    ports = {door: free_port() for door in ("append", "https", "sfsp")}
    command = [sys.executable, str(Path(__file__).resolve()), "--serve", str(result)]
    command += ["-n", "--pidfile=", "storehouse", "--root", str(root), "--admin", "off"]
    for door, port in ports.items():
        command += [f"--{door}", f"tcp:{port}:interface={HOST}"]
    with running("storehouse", command, ports["https"], directory / "log") as server:
        clients = _Clients(ports["append"], ports["https"], ports["sfsp"], root)

        def recorded(request: Callable[[], None]) -> Flow:
            time.sleep(0.1)  # for what the one before left to do
            server.process.send_signal(signal.SIGUSR1)
            _awaited(result.with_suffix(".on"))
            request()
            server.process.send_signal(signal.SIGUSR2)
            return Flow(**json.loads(_awaited(result)))

        def measure(request: Callable[[], None]) -> Flow:
            request()
            # What is done from time to time falls into one or the other: the one with least of it counts.
            return min((recorded(request) for _ in range(3)), key=lambda flow: (len(flow.modules), len(flow.deepest)))

        yield clients, measure


def _awaited(path: Path) -> str:
    """What is in a file that the server writes, which goes."""
    until = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > until:
            raise BenchError(f"the profiler did not write {path.name}")
        time.sleep(0.005)
    text = path.read_text()
    path.unlink()
    return text


def measured() -> dict[str, Flow]:
    """Each kind of request, by the names that L{LIMITS} has."""
    with tempfile.TemporaryDirectory(prefix="flow-") as directory, _service(Path(directory)) as (clients, measure):
        requests: list[Callable[[], Any]] = [
            clients.append,
            clients.get,
            partial(clients.form, 2000),
            partial(clients.form, _LARGE),
            clients.put,
            clients.download,
            clients.tus,
            clients.send,
            clients.receive,
        ]
        return {name: measure(request) for name, request in zip(LIMITS, requests, strict=True)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.flow", description="Count the modules, lines and frames that a request goes through."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="name the modules and the frames")
    options = parser.parse_args(arguments)
    try:
        found = measured()
    except BenchError as error:
        print(f"bench.flow: {error}", file=sys.stderr)
        return 1
    rows = [
        [name, *map(str, (len(flow.modules), flow.lines, flow.functions, flow.calls, len(flow.deepest)))]
        for name, flow in found.items()
    ]
    print(format_table("what a request opens", ["", "modules", "lines", "functions", "calls", "frames"], rows))
    if options.verbose:
        for name, flow in found.items():
            print(f"\n{name}\n  modules: {' '.join(flow.modules)}\n  frames: {' > '.join(flow.deepest)}")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve(Path(sys.argv[2]), sys.argv[3:])
    else:
        sys.exit(main())
