"""A server of S3 for tests, in a process of its own, whose data is in memory and gone with it (docs/testing.rst)."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from types import TracebackType
from urllib.parse import quote, urlencode

import attrs

__all__ = ["S3Bucket", "S3Server"]

#: Seconds that the server may take to begin, to end, and to answer.
_PATIENCE = 30.0


@attrs.define(eq=False)
class S3Server:
    """
    C{storehouse s3 --ephemeral}: begun by L{start}, or by C{with S3Server() as server}.

    @ivar options: more options of the command, such as C{"--tls"}.
    @ivar endpoint: the URL.
    @ivar access_key_id: of an administrator.
    @ivar secret_access_key: that of the access key.
    @ivar region: the one to sign for.
    @ivar socket: the socket file by which commands of C{storehouse} reach it; it is in its root.
    @ivar ca_bundle: with C{--tls}, a PEM file with the server's certificate; else empty.
    """

    options: Sequence[str] = ()
    endpoint: str = attrs.field(default="", init=False)
    access_key_id: str = attrs.field(default="", init=False)
    secret_access_key: str = attrs.field(default="", init=False, repr=False)
    region: str = attrs.field(default="", init=False)
    ca_bundle: str = attrs.field(default="", init=False)
    socket: str = attrs.field(default="", init=False)
    _process: subprocess.Popen[str] | None = attrs.field(default=None, init=False, repr=False)

    def start(self) -> None:
        """
        Start it; returns when it answers.

        @raise RuntimeError: with what it said, if it does not start.
        """
        words = ["s3", "--ephemeral", "--format", "json", "--until-stdin-closes", *self.options]
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "storehouse.cli", *words],
            # Closed with this process, however that ends, and the server ends with it.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError(f"storehouse s3 ended with {process.returncode}; its standard error says why")
        said = json.loads(line)
        self.endpoint, self.region = said["endpoint"], said["region"]
        self.access_key_id, self.secret_access_key = said["access_key_id"], said["secret_access_key"]
        self.ca_bundle, self.socket = said.get("ca_bundle", ""), said["socket"]

    def stop(self) -> None:
        """End it; nothing of it is left."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> S3Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which SDKs and commands find it, for C{os.environ} or a process that is started."""
        found = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }
        return found | ({"AWS_CA_BUNDLE": self.ca_bundle} if self.ca_bundle else {})

    @property
    def boto3(self) -> Mapping[str, str]:
        """Arguments of boto3: C{boto3.client("s3", **server.boto3)}."""
        found = {
            "endpoint_url": self.endpoint,
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
            "region_name": self.region,
        }
        return found | ({"verify": self.ca_bundle} if self.ca_bundle else {})

    @contextmanager
    def bucket(self, name: str = "") -> Iterator[S3Bucket]:
        """A new bucket, by default with a random name, that is removed at the end with all that is in it."""
        made = S3Bucket(self, name or f"test-{secrets.token_hex(8)}")
        self._ask("PUT", f"/buckets/{made.name}")
        try:
            yield made
        finally:
            self._empty(made.name)

    def _empty(self, name: str) -> None:
        """Remove a bucket, unless the test has."""
        after = ""
        while True:
            query = urlencode({"after": after, "limit": 1000})
            status, body = self._answer("GET", f"/buckets/{name}/objects?{query}")
            if status == 404:
                return
            page = json.loads(body)
            for each in page["objects"]:
                self._ask("DELETE", f"/objects/{name}/{quote(each['key'], safe='')}")
            after = page["next_after"] or ""
            if not after:
                break
        self._ask("DELETE", f"/buckets/{name}")

    def _ask(self, method: str, path: str) -> bytes:
        status, body = self._answer(method, path)
        if status >= 300 and status != 404:
            raise RuntimeError(f"{method} {path}: {status} {body.decode(errors='replace')}")
        return body

    def _answer(self, method: str, path: str) -> tuple[int, bytes]:
        # By the socket, which needs no signature.
        connection = _SocketConnection(self.socket)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@attrs.frozen
class S3Bucket:
    """
    A bucket for one test.

    @ivar server: where it is.
    """

    server: S3Server
    name: str

    def __str__(self) -> str:
        return self.name


class _SocketConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
