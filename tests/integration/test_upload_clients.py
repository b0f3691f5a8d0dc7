"""Clients that nobody here wrote, over TLS, a real store behind it: C{curl}, and C{requests} with a streamed form."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from random import Random
from typing import Any

import requests
from requests_toolbelt import MultipartEncoder
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase

from storehouse.config.settings import ConnectionSettings
from storehouse.core.jobs import DiskThreads
from storehouse.core.streams import read_all
from storehouse.frontends.http.request import Root
from storehouse.frontends.http.site import DoorSite
from storehouse.frontends.upload.intake import Activity, Intake, UploadMemory
from storehouse.frontends.upload.upload import FormUpload, Upload
from storehouse.storage.dataspace.wormer import WormerDataSpace, WormerSettings
from storehouse.storage.namespace.local import LocalNamespace, NamespaceSettings
from storehouse.storage.objects.store import LocalObjectStore
from tests.frontends.upload.gates import OpenGate
from tests.frontends.upload.receiving import Resumption
from tests.integration.engines.certificates import self_signed
from tests.integration.process import PATIENCE
from tests.integration.tools import needed

MIB = 1 << 20
reactor: Any = real_reactor


class ClientTests(TestCase):
    """A door on a port, with a certificate of its own."""

    async def setUp(self) -> None:
        (self.program,) = needed("curl")
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        disk = DiskThreads(reactor, 4)
        disk.start()
        self.addCleanup(disk.stop)
        space = WormerDataSpace(WormerSettings(os.path.join(self.directory, "objects"), durable=False), disk)
        names = LocalNamespace(
            NamespaceSettings(os.path.join(self.directory, "namespace"), durable=False), reactor, disk
        )
        self.store = LocalObjectStore(space, names, disk)
        for part in (space, names, self.store):
            part.start()
            self.addCleanup(part.stop)
        await self.store.create_bucket("uploads")
        self.memory = UploadMemory(16 * MIB, 100)
        gate: Any = OpenGate()
        intake = Intake(self.store, self.memory, gate, Activity(reactor), disk, max_size=100 * MIB)
        root = Root({b"upload": Upload(gate, FormUpload(gate, intake), intake, Resumption())})
        self.site = DoorSite(root, reactor, ConnectionSettings(), name="upload")
        key, self.certificate = self_signed(os.path.join(self.directory, "tls"))
        with open(key, "rb") as private, open(self.certificate, "rb") as public:
            pair = PrivateCertificate.loadPEM(private.read() + public.read())
        options = CertificateOptions(privateKey=pair.privateKey.original, certificate=pair.original)
        port = reactor.listenTCP(0, TLSMemoryBIOFactory(options, False, self.site), interface="127.0.0.1")
        self.addCleanup(lambda: self.site.drain(5))
        self.addCleanup(port.stopListening)
        self.url = f"https://127.0.0.1:{port.getHost().port}"

    def file(self, name: str, size: int) -> tuple[str, bytes]:
        """The path of a file of random bytes, and those."""
        data = Random(size).randbytes(size)
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(data)
        return path, data

    async def curl(self, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, Any]:
        """What curl got: the status and the answer, which is JSON."""
        out, err, code = await getProcessOutputAndValue(
            self.program,
            ["-sS", "--max-time", "50", "--cacert", self.certificate, "-w", "\n%{http_code}", *arguments],
            env={**os.environ, **(env or {})},
            reactor=reactor,
        )
        self.assertEqual(code, 0, err)
        body, _, status = out.rpartition(b"\n")
        return int(status), json.loads(body) if body else None

    async def stored(self, key: str) -> bytes:
        """The bytes of an object."""
        return await read_all(await self.store.get("uploads", key))

    async def test_curl_forms(self) -> None:
        """Small and large files, and fields, in one form, of a length that is known and of one that is not."""
        small, text = self.file("small.txt", 1000)
        large, data = self.file("lärge.bin", 30 * MIB)
        form = ("-F", "note=with a value", "-F", f"a=@{small}", "-F", f"b=@{large};type=image/png", "-F", "c=<" + small)
        for fields in ((), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect: 100-continue")):
            status, told = await self.curl(*form[:6], *fields, self.url + "/upload")
            self.assertEqual((status, [each["size"] for each in told["stored"]]), (201, [1000, 30 * MIB]))
            self.assertEqual(await self.stored(told["stored"][0]["name"]), text)
            self.assertEqual(await self.stored(told["stored"][1]["name"]), data)
        info = await self.store.head("uploads", "lärge (2).bin")
        self.assertEqual((info.content_type, info.metadata["via"]), ("image/png", ["form"]))
        self.assertEqual((self.memory.held, self.memory.sessions), (0, 0))
        self.assertLess(self.memory.peak, 16 * MIB)

    async def test_curl_names(self) -> None:
        """Names as curl writes them."""
        path, _ = self.file("plain", 10)
        for given, key in (
            ('quo"te d.txt', 'quo"te d.txt'),
            ("C:\\home\\d.txt", "d.txt"),
            ("käse \U0001f600.txt", "käse \U0001f600.txt"),
            ("a;b=c.txt", "a;b=c.txt"),
            ("שלום", "שלום"),
            ("../../up", "up"),
        ):
            quoted = given.replace("\\", "\\\\").replace('"', '\\"')
            status, told = await self.curl("-F", f'f=@{path};filename="{quoted}"', self.url + "/upload")
            self.assertEqual((status, told["stored"][0]["name"]), (201, key))
        # A name with a backslash in it, or a folder? It is not cut there.
        status, told = await self.curl("-F", f'f=@{path};filename="quo\\"te\\\\d.txt"', self.url + "/upload")
        self.assertEqual((status, told["error"]), (400, "InvalidName"))

    async def test_curl_put(self) -> None:
        path, data = self.file("käse.bin", 20 * MIB)
        status, told = await self.curl("-T", path, self.url + "/upload/")
        self.assertEqual((status, told["stored"][0]["url"]), (201, "/download/k%C3%A4se.bin"))
        self.assertEqual(await self.stored("käse.bin"), data)
        status, told = await self.curl("-T", path, "-H", "If-None-Match: *", self.url + "/upload/k%C3%A4se.bin")
        self.assertEqual((status, told["error"]), (412, "PreconditionFailed"))
        status, told = await self.curl("-X", "POST", "-T", path, self.url + "/upload/k%C3%A4se.bin")
        self.assertEqual((status, told["stored"][0]["name"]), (201, "käse (1).bin"))
        # A part of a file is not taken for the file.
        status, told = await self.curl("-C", "100", "-T", path, self.url + "/upload/other")
        self.assertEqual((status, told["error"]), (400, "BadRequest"))
        status, told = await self.curl("-T", self.file("huge", 101 * MIB)[0], self.url + "/upload/huge")
        self.assertEqual((status, told["error"]), (413, "TooLarge"))

    async def test_requests(self) -> None:
        """A form that is made while it is sent."""
        path, data = self.file("large.bin", 25 * MIB)

        def send(fields: Any, boundary: str) -> Any:
            with open(path, "rb") as file:
                encoder = MultipartEncoder({**fields, "file": ("large.bin", file, "image/png")}, boundary=boundary)
                return requests.post(
                    self.url + "/upload",
                    data=encoder,
                    headers={"Content-Type": encoder.content_type},
                    verify=self.certificate,
                    timeout=PATIENCE,
                )

        for boundary in ("b", "'()+_,-./:=?", "x" * 70):
            answer = await deferToThread(send, {"field": "x" * 60_000}, boundary)
            self.assertEqual(answer.status_code, 201, answer.text)
            self.assertEqual(await self.stored(answer.json()["stored"][0]["name"]), data)
        answer = await deferToThread(send, {"field": "x" * 70_000}, "b")
        self.assertEqual((answer.status_code, answer.json()["error"]), (413, "TooLarge"))

    async def test_requests_put(self) -> None:
        """A body of a length that nobody knows, with a digest of it."""
        data = Random(1).randbytes(10 * MIB)

        def pieces() -> Iterator[bytes]:
            for at in range(0, len(data), 100_000):
                yield data[at : at + 100_000]

        def send(digest: bytes) -> Any:
            from base64 import b64encode

            return requests.put(
                self.url + "/upload/a",
                data=pieces(),
                headers={"Repr-Digest": f"sha-256=:{b64encode(digest).decode()}:"},
                verify=self.certificate,
                timeout=PATIENCE,
            )

        answer = await deferToThread(send, hashlib.sha256(b"other").digest())
        self.assertEqual((answer.status_code, answer.json()["error"]), (400, "ChecksumMismatch"))
        answer = await deferToThread(send, hashlib.sha256(data).digest())
        self.assertEqual(answer.status_code, 201)
        self.assertEqual(await self.stored("a"), data)

    async def test_killed(self) -> None:
        """A client that is killed leaves nothing, and no memory is held for it."""
        path, _ = self.file("large.bin", 30 * MIB)
        for way in (("-F", f"f=@{path}", "/upload"), ("-T", path, "/upload/x")):
            await getProcessOutputAndValue(
                self.program,
                [
                    "-sS",
                    "--max-time",
                    "1",
                    "--limit-rate",
                    "4M",
                    "--cacert",
                    self.certificate,
                    *way[:2],
                    self.url + way[2],
                ],
                env=os.environ,
                reactor=reactor,
            )
            for _ in range(100):
                if not self.memory.sessions:
                    break
                await _after(0.02)
            self.assertEqual((self.memory.held, self.memory.sessions), (0, 0))
            self.assertEqual(await self.store.list_keys("uploads"), [])


def _after(seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done
