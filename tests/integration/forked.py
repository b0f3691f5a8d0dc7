"""
Python processes that have storehouse imported when they begin.

To start Python and to import the server takes longer than most tests need for what they ask of it. So a process that has
imported everything, and has done nothing else, waits beside the tests, and is forked for each program that they start.
Where that is not possible, or not the same, the program is started as usual.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from typing import Any

__all__ = ["Forked", "run_forked"]

#: What is imported beforehand: all but what chooses a reactor.
_IMPORTED = (
    "twisted.scripts.twistd",
    "twisted.plugins.storehouse_plugin",
    "storehouse.core.fast.reactor",
    "storehouse.app.tap",
    "storehouse.app.service",
    "storehouse.app.uploading",
    "storehouse.cli",
)

#: Variables that Python reads when it starts, and that count in a fork as well; C{PYTHON} is the Makefile's.
_HEEDED = frozenset({"PYTHON", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"})

_PR_SET_CHILD_SUBREAPER = 36


class Forked(subprocess.Popen[Any]):
    """
    As L{subprocess.Popen}, for commands that begin with C{sys.executable}.

    @ivar is_forked: whether it is a fork, and not started as usual.
    """

    is_forked = False

    # All that has to do with pipes is Popen's own. This is what it calls to start the program, in each Python since 3.11.
    def _execute_child(
        self,
        args: Any,
        executable: Any,
        preexec_fn: Any,
        close_fds: bool,
        pass_fds: Any,
        cwd: Any,
        env: Any,
        *rest: Any,
    ) -> None:
        _, _, shell, p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, restore, *user = rest
        program = _program(args, os.environ if env is None else env)
        plain = executable is None and preexec_fn is None and not pass_fds and not shell and restore
        # No other user, group, umask, session or process group.
        if program is None or not plain or any(each not in (None, -1, False) for each in user):
            super()._execute_child(  # type: ignore[misc]
                args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest
            )
            return
        try:
            os.stat(cwd or ".")
            descriptors = [
                number if given == -1 else given for number, given in enumerate((p2cread, c2pwrite, errwrite))
            ]
            program["directory"] = os.path.abspath(cwd or ".")
            program["environment"] = dict(os.environ if env is None else env)
            self.pid = _server().fork(program, descriptors)
            self.is_forked = True
            self._child_created = True
        finally:
            self._close_pipe_fds(  # type: ignore[attr-defined]
                p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite
            )


def run_forked(
    args: list[str],
    *,
    input: Any = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **kwargs: Any,
) -> subprocess.CompletedProcess[Any]:
    """As C{subprocess.run}."""
    if capture_output:
        kwargs.update(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if input is not None:
        kwargs["stdin"] = subprocess.PIPE
    with Forked(args, **kwargs) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def _program(args: Any, environment: Any) -> dict[str, Any] | None:
    """What a command asks of Python; C{None} if a fork could not do it alike."""
    if isinstance(args, str | bytes | os.PathLike) or not sys.platform.startswith("linux"):
        return None
    words = [os.fspath(word) for word in args]
    if words[:1] != [sys.executable] or not all(isinstance(word, str) for word in words):
        return None
    if any(name.startswith("PYTHON") and name not in _HEEDED for name in environment):
        return None
    filters = []
    at = 1
    while words[at : at + 1] == ["-W"]:
        filters.append(words[at + 1])
        at += 2
    if words[at : at + 1] not in (["-c"], ["-m"]) or set(filters) - {"error"}:
        return None
    return {"how": words[at], "what": words[at + 1], "words": words[at + 2 :], "error": bool(filters)}


# -- beside the tests ------------------------------------------------------------------------


class _Server:
    """The process that is forked."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl
        with theirs:
            folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from tests.integration.forked import serve; serve({theirs.fileno()})"],
                pass_fds=[theirs.fileno()],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))},
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self.stop)

    def stop(self) -> None:
        self._connection.close()
        self._process.wait()

    def fork(self, program: dict[str, Any], descriptors: list[int]) -> int:
        """
        Start a program. It becomes a child of this process, which has to wait for it as for any other.

        @return: its process ID.
        """
        with self._lock:
            # The server's child starts it and ends: who is left without a parent comes to us.
            self._prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                data = json.dumps(program).encode("utf-8", "surrogateescape")
                file = os.memfd_create("program")
                with open(file, "r+b", buffering=0) as content:
                    content.write(data)
                    socket.send_fds(self._connection, [b"."], [content.fileno(), *descriptors])
                answer = self._connection.recv(100)
            finally:
                self._prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        if not answer:
            raise OSError("the process that is forked for tests has ended")
        return int(answer)


_running: _Server | None = None


def _server() -> _Server:
    global _running
    if _running is None:
        _running = _Server()
    return _running


# -- in that process -------------------------------------------------------------------------


def serve(descriptor: int) -> None:
    """Fork for each program that is asked for. In a fork this runs the program, and returns when it ends."""
    for name in _IMPORTED:
        __import__(name)
    _import_all("storehouse.cli")
    if "twisted.internet.reactor" in sys.modules:
        raise RuntimeError("something that was imported has chosen a reactor")
    # What is there now is not looked through, and so not copied, by each of them.
    gc.collect()
    gc.freeze()
    connection = socket.socket(fileno=descriptor)
    while True:
        _, given, _, _ = socket.recv_fds(connection, 1, 4)
        if not given:
            os._exit(0)
        reading, writing = os.pipe()
        between = os.fork()
        if not between:
            parent = os.getpid()
            child = os.fork()
            if child:
                os.write(writing, str(child).encode("ascii"))
                os._exit(0)
            # It begins when it is the child of who asked.
            while os.getppid() == parent:
                time.sleep(0.001)
            os.close(reading)
            os.close(writing)
            connection.close()
            break
        os.waitpid(between, 0)
        number = os.read(reading, 100)
        for each in (reading, writing, *given):
            os.close(each)
        connection.send(number)
    _become(given)


def _import_all(package: str) -> None:
    import importlib
    import pkgutil

    folder = importlib.import_module(package)
    for each in pkgutil.walk_packages(folder.__path__, package + "."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)


def _file(number: int, mode: str, buffering: int = -1) -> Any:
    return open(number, mode, buffering, closefd=False)


def _become(given: list[int]) -> None:
    with open(given[0], "rb") as file:
        file.seek(0)
        program = json.loads(file.read().decode("utf-8", "surrogateescape"))
    for number, each in enumerate(given[1:]):
        os.dup2(each, number)
        os.close(each)
    os.chdir(program["directory"])
    os.environ.clear()
    os.environ.update(program["environment"])
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(_file(0, "rb"), encoding="utf-8")
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = io.TextIOWrapper(
            _file(number, "wb", 0 if unbuffered else -1),
            encoding="utf-8",
            errors="backslashreplace" if number == 2 else "strict",
            line_buffering=number == 2 or os.isatty(number),
            write_through=unbuffered,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = ["", *paths, *(path for path in sys.path if path not in ("", *paths))]
    if program["error"]:
        sys.warnoptions[:] = ["error"]
        warnings.resetwarnings()
        warnings.simplefilter("error")
    if program["how"] == "-m":
        sys.argv = [program["what"], *program["words"]]
        runpy.run_module(program["what"], run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *program["words"]]
        main = sys.modules["__main__"].__dict__
        exec(compile(program["what"], "<string>", "exec"), main)
