"""Tests of L{storehouse.frontends.s3.postform}."""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode
from typing import Any

from twisted.internet.defer import Deferred

from storehouse.core.jobs import InlineDisk
from storehouse.core.streams import BytesStream, read_all
from storehouse.core.xmltext import parse
from storehouse.frontends.s3 import postform
from storehouse.frontends.s3.call import Call, Door
from storehouse.frontends.s3.door import S3Door
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.signing.authenticator import Authenticator
from storehouse.storage.objects.interfaces import ObjectInfo
from tests.frontends.http.wire import Answer
from tests.frontends.s3.playing import NOW, S3Case
from tests.frontends.s3.signing.signers import shown_time, signed_policy

TYPE = "Content-Type: multipart/form-data; boundary=frontier"


def form(
    fields: dict[str, str], data: bytes | None = b"bytes", filename: str | None = "my file.txt", more: bytes = b""
) -> bytes:
    """A body: the fields, the file, and what follows it."""
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    if data is not None:
        named = "" if filename is None else f'; filename="{filename}"'
        parts.append(f'Content-Disposition: form-data; name="file"{named}\r\n\r\n'.encode() + data)
    if more:
        parts.append(more)
    return b"".join(b"--frontier\r\n" + part + b"\r\n" for part in parts) + b"--frontier--\r\n"


class PostFormTests(S3Case):
    """Forms of any page."""

    def make_door(self) -> S3Door:
        self.key = self.successResultOf(self.accounts.add_user("ann"))
        self.asked: list[tuple[str, str, str, str]] = []

        async def authorize(call: Call) -> None:
            self.asked.append((call.caller.name, call.operation, call.bucket, call.key))
            if call.caller.user is None and call.bucket != "open":
                raise S3Error("AccessDenied")

        shared = Door(self.store, self.accounts, self.settings, self.clock, InlineDisk())
        return S3Door(shared, Authenticator(self.accounts, self.clock.seconds, "us-east-1"), authorize)

    def setUp(self) -> None:
        S3Case.setUp(self)
        for bucket in ("box", "open"):
            self.successResultOf(self.store.create_bucket(bucket, owner="bob"))

    def signed(self, conditions: list[Any] | None = None, **fields: str) -> dict[str, str]:
        """The fields of a form whose policy allows them, and those that conditions speak of."""
        kept = ("success_action_status", "success_action_redirect")
        given = {name if name in kept else name.replace("_", "-"): value for name, value in fields.items()}
        exact = [{name: value} for name, value in given.items() if conditions is None or name != "key"]
        wanted = [{"bucket": "box"}, *exact, *(conditions or [])]
        return {**given, **signed_policy(self.key, wanted, shown_time(NOW + 60), region="us-east-1")}

    def post(self, body: bytes, *fields: str, path: str = "/box", status: int = 204) -> Answer:
        """A form that is taken."""
        return self.done(f"POST {path}", body, TYPE, *fields, status=status, user="")

    def fails(self, code: str, body: bytes, field: str = TYPE, path: str = "/box") -> str:
        """A form that is not, and what is said then."""
        said = self.refused(code, f"POST {path}", body, field, user="")
        self.assertEqual(self.successResultOf(self.store.list_keys(path.strip("/"))), [])
        return said.value("Message")

    def whole(self, key: str, bucket: str = "box") -> tuple[ObjectInfo, bytes]:
        """An object and its bytes."""
        reader = self.successResultOf(self.store.get(bucket, key))
        return reader.info, self.successResultOf(Deferred.fromCoroutine(read_all(reader)))

    def test_stored(self) -> None:
        """The file, with what the fields say of it, as the one who signed it."""
        fields = self.signed(
            key="a",
            Content_Type="text/css",
            x_amz_meta_Who="me",
            Cache_Control="no-cache",
            acl="public-read",
            tagging="<Tagging><TagSet><Tag><Key>k</Key><Value>v w</Value></Tag></TagSet></Tagging>",
        )
        answer = self.post(form(fields))
        info, data = self.whole("a")
        self.assertEqual((data, info.etag), (b"bytes", hashlib.md5(b"bytes").hexdigest()))
        self.assertEqual((info.content_type, info.metadata), ("text/css", {"who": ["me"]}))
        self.assertEqual((info.system["cache-control"], info.system["tagging"]), ("no-cache", "k=v%20w"))
        self.assertIn("checksum-crc64nvme", info.system)
        self.assertEqual(info.system["owner"], "ann")
        self.assertIn("acl", info.system)
        self.assertEqual(
            (answer.fields["etag"], answer.fields["location"]), (f'"{info.etag}"', "http://localhost/box/a")
        )
        self.assertEqual(self.asked, [("ann", "PutObject", "box", "a")])

    def test_filename(self) -> None:
        """It may be a part of the key; its folders never are."""
        fields = self.signed([["starts-with", "$key", "user/"]], key="user/${filename}")
        for name, key in (("b.txt", "user/b.txt"), ("C:\\\\home\\\\c.txt", "user/c.txt"), ("../d", "user/d")):
            self.post(form(fields, filename=name))
            self.assertEqual(self.whole(key)[1], b"bytes")
        self.post(form(fields, filename=None))
        self.assertEqual(self.whole("user/")[1], b"bytes")

    def test_long_keys(self) -> None:
        """A name that is in a key many times does not reach what keys are compared with."""
        self.fails("KeyTooLongError", form({"key": "${filename}" * 1000}, filename="x" * 200), path="/open")

    def test_nobody(self) -> None:
        """Without a policy, in a bucket that anybody may write to."""
        self.post(form({"key": "a"}), path="/open")
        self.assertEqual(self.whole("a", "open")[1], b"bytes")
        self.fails("AccessDenied", form({"key": "a"}))

    def test_any_bytes(self) -> None:
        """Files of any bytes, of none, and without a name."""
        data = bytes(range(256)) * 1000
        self.post(form(self.signed(key="a"), data, filename=None))
        self.assertEqual(self.whole("a")[1], data)
        self.post(form(self.signed(key="b"), b""))
        self.assertEqual(self.whole("b")[1], b"")

    def test_answers(self) -> None:
        """As the form wants them."""
        for status, expected in (("200", 200), ("201", 201), ("204", 204), ("404", 204)):
            answer = self.post(form(self.signed(key="a b", success_action_status=status)), status=expected)
            self.assertEqual(answer.fields["location"], "http://localhost/box/a%20b")
            if expected == 201:
                said = parse(answer.body, "PostResponse")
                told = [said.value(name) for name in ("Location", "Bucket", "Key", "ETag")]
                self.assertEqual(told, ["http://localhost/box/a%20b", "box", "a b", answer.fields["etag"]])
        for name in ("success_action_redirect", "redirect"):
            for page, place in (("http://h/done", "http://h/done?"), ("https://h/done?x=1", "https://h/done?x=1&")):
                answer = self.post(form(self.signed(key="a b", **{name: page})), status=303)
                etag = answer.fields["etag"].strip('"')
                self.assertEqual(answer.fields["location"], f"{place}bucket=box&key=a+b&etag=%22{etag}%22")
        for page in ("javascript:alert(1)", "/done", "http://h/ y", "http://[h"):
            self.post(form(self.signed(key="a", success_action_redirect=page)))

    def test_fields_behind_the_file(self) -> None:
        """They do not count."""
        more = b'Content-Disposition: form-data; name="x-amz-meta-late"\r\n\r\n1'
        self.post(form(self.signed(key="a"), more=more))
        self.assertEqual(self.whole("a")[0].metadata, {})

    def test_not_stored(self) -> None:
        """Whatever is wrong with a form, nothing of it is stored."""
        fields = self.signed(key="a")
        good = form(fields)
        for code, body in (
            ("MalformedPOSTRequest", good[:-20]),
            ("MalformedPOSTRequest", good.replace(b"--frontier--", b"--frontier-x")),
            (
                "IncorrectNumberOfFilesInPostRequest",
                form(fields, more=b'Content-Disposition: form-data; name="file"; filename="b"\r\n\r\nx'),
            ),
            ("InvalidArgument", form(fields, data=None)),
            (
                "InvalidArgument",
                form(
                    {"file2": "x", **fields},
                    data=None,
                    more=b'Content-Disposition: form-data; name="f"; filename="b"\r\n\r\nx',
                ),
            ),
            ("InvalidArgument", form({**fields, "KEY": "b"})),
            ("InvalidArgument", form({name: value for name, value in fields.items() if name != "key"})),
            ("UserKeyMustBeSpecified", form({**fields, "key": ""})),
            ("AccessDenied", form({**fields, "key": "b"})),
            ("AccessDenied", form({**fields, "x-amz-meta-b": "c"})),
            ("SignatureDoesNotMatch", form({**fields, "x-amz-signature": "0" * 64})),
            ("MaxPostPreDataLengthExceededError", form({**fields, "x-ignore-me": "x" * 20_000})),
            ("MalformedXML", form(self.signed(key="a", tagging="<Tagging>"))),
            ("InvalidArgument", form(self.signed(key="a", acl="everybody"))),
            ("InvalidStorageClass", form(self.signed(key="a", x_amz_storage_class="LUNAR"))),
            ("MetadataTooLarge", form(self.signed(key="a", x_amz_meta_a="x" * 2048))),
        ):
            self.fails(code, body)
        self.fails("PreconditionFailed", good, "Content-Type: text/plain")

    def test_size(self) -> None:
        """As the policy bounds it."""
        fields = self.signed([["content-length-range", 2, 5], ["starts-with", "$key", ""]], key="a")
        self.fails("EntityTooLarge", form(fields, b"123456"))
        self.fails("EntityTooSmall", form(fields, b"1"))
        self.post(form(fields, b"12345"))
        self.patch(postform, "_LARGEST", 3)
        self.refused("EntityTooLarge", "POST /box", form(self.signed(key="b"), b"1234"), TYPE, user="")

    def test_checksums(self) -> None:
        """What a form says of its file is compared."""
        crc = b64encode(zlib.crc32(b"bytes").to_bytes(4, "big")).decode()
        self.fails("BadDigest", form(self.signed(key="a", x_amz_checksum_crc32="AAAAAA==")))
        self.fails("BadDigest", form(self.signed(key="a", Content_MD5=b64encode(bytes(16)).decode())))
        self.post(form(self.signed(key="a", x_amz_checksum_crc32=crc)))
        self.assertEqual(self.whole("a")[0].system["checksum-crc32"], crc)

    def test_replaces(self) -> None:
        """An object that is there stays whole until the new one is."""
        self.successResultOf(self.store.put("box", "a", BytesStream(b"old"), 3))
        self.refused("MalformedPOSTRequest", "POST /box", form(self.signed(key="a"))[:-20], TYPE, user="")
        self.assertEqual(self.whole("a")[1], b"old")
        self.post(form(self.signed(key="a")))
        self.assertEqual(self.whole("a")[1], b"bytes")
