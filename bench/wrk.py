"""Load from C{wrk}: what to send, and what came of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import attrs

from bench.harness import HOST, BenchError, pinned, tool

__all__ = ["Load", "Outcome", "parse_outcome", "request_bytes", "run_wrk"]

_script = Path(__file__).with_name("load.lua")


@attrs.frozen
class Load:
    """
    What to send to one server.

    @ivar requests: whole HTTP requests, sent in turn, again from the first after the last.
    @ivar connections: how many are open at once; each sends its next request when the last was answered.
    @ivar records: the records that one request carries.
    """

    requests: Sequence[bytes]
    connections: int
    records: int = 1


@attrs.frozen
class Outcome:
    """
    What C{wrk} saw.

    @ivar requests: how many were answered.
    @ivar duration: in seconds.
    @ivar p50: median latency in microseconds.
    @ivar p99: the latency that 1% of the answers exceeded, in microseconds.
    """

    requests: int
    duration: float
    p50: float
    p99: float


def request_bytes(method: str, target: str, port: int, body: bytes | None = None) -> bytes:
    """One HTTP/1.1 request as it goes over the wire."""
    head = f"{method} {target} HTTP/1.1\r\nHost: {HOST}:{port}\r\n"
    if body is None:
        return head.encode() + b"\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def parse_outcome(output: str) -> Outcome:
    """
    Read the line that load.lua printed.

    @raise BenchError: if it is not there, or if any request failed or was answered with an error.
    """
    lines = [line.removeprefix("RESULT ") for line in output.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise BenchError(f"wrk printed no result:\n{output}")
    result = json.loads(lines[-1])
    failures = {kind: result[kind] for kind in ("connect", "read", "write", "timeout", "status") if result[kind]}
    if failures:
        raise BenchError(f"requests failed: {failures} (status: answers that were not 2xx or 3xx)\n{output}")
    if not result["requests"]:
        raise BenchError(f"no request was answered:\n{output}")
    return Outcome(result["requests"], result["duration"] / 1e6, float(result["p50"]), float(result["p99"]))


def run_wrk(load: Load, port: int, seconds: float, file: Path, core: int | None, scheme: str = "http") -> Outcome:
    """
    Put a server under load and wait for the end.

    @param file: where to leave the requests for load.lua.
    @param core: the processor core that C{wrk}'s one thread stays on.
    @raise BenchError: as L{parse_outcome}.
    """
    with file.open("wb") as requests:
        for request in load.requests:
            requests.write(b"%d\n%b" % (len(request), request))
    # wrk takes whole seconds only; a run under one second would end at once.
    wrk = [tool("wrk"), "-t1", f"-c{load.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    command = [*pinned(core), *wrk, "-s", str(_script), f"{scheme}://{HOST}:{port}/", "--", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"wrk failed:\n{done.stdout}{done.stderr}")
    return parse_outcome(done.stdout)
