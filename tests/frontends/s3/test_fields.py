"""Tests of L{storehouse.frontends.s3.fields}."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import (
    checked_metadata,
    condition_of,
    content_type_of,
    holds,
    iso_time,
    kept_etag,
    limit_of,
    quoted,
    source_of,
    stored_fields,
    system_of,
)
from storehouse.storage.objects.interfaces import ALWAYS, Condition, ObjectInfo

MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def getter(**fields: str) -> Callable[[str], str | None]:
    """What gives these header fields: underscores for hyphens."""
    found = {name.replace("_", "-"): value for name, value in fields.items()}
    return lambda name: found.get(name.lower())


def info(etag: str = MD5, created: int = 0, system: Mapping[str, str] = {}, **metadata: str) -> ObjectInfo:
    """An object."""
    return ObjectInfo("a", "id", 1, etag, created, "", {name: [value] for name, value in metadata.items()}, system)


class RequestTests(SynchronousTestCase):
    """What requests say."""

    def code_of(self, call: Callable[..., object], *args: object) -> str:
        """Of the error that a call raises."""
        return self.assertRaises(S3Error, call, *args).code

    def test_system(self) -> None:
        self.assertEqual(system_of(getter()), {})
        self.assertEqual(
            system_of(
                getter(
                    cache_control="max-age=1",
                    content_disposition="inline",
                    content_encoding="aws-chunked, gzip",
                    content_language="de",
                    expires="0",
                    x_amz_website_redirect_location="/b",
                    x_amz_storage_class="STANDARD_IA",
                    x_amz_tagging="k=v+w&l",
                    x_amz_server_side_encryption="AES256",
                )
            ),
            {
                "cache-control": "max-age=1",
                "content-disposition": "inline",
                "content-encoding": "gzip",
                "content-language": "de",
                "expires": "0",
                "website-redirect-location": "/b",
                "storage-class": "STANDARD_IA",
                "tagging": "k=v%20w&l=",
            },
        )
        self.assertEqual(system_of(getter(content_encoding="aws-chunked", x_amz_storage_class="STANDARD")), {})
        self.assertEqual(system_of(getter(x_amz_tagging="k=v"), tags=False), {})

    def test_system_refused(self) -> None:
        for code, fields in (
            ("NotImplemented", {"x_amz_server_side_encryption": "aws:kms"}),
            ("NotImplemented", {"x_amz_server_side_encryption_customer_algorithm": "AES256"}),
            ("NotImplemented", {"x_amz_object_lock_mode": "GOVERNANCE"}),
            ("InvalidStorageClass", {"x_amz_storage_class": "GLACIER"}),
            ("InvalidRedirectLocation", {"x_amz_website_redirect_location": "b"}),
            ("InvalidTag", {"x_amz_tagging": "k=1&k=2"}),
            ("BadRequest", {"x_amz_tagging": "&".join(f"k{n}=" for n in range(11))}),
        ):
            self.assertEqual(self.code_of(system_of, getter(**fields)), code)

    def test_control_characters(self) -> None:
        """A form can have what no header field of a response can: then nothing is stored."""
        for value in ("/a\r\nX-Other: 1", "/a\0", "/a\x7f", "/\x0b"):
            for name in ("cache_control", "content_disposition", "expires", "x_amz_website_redirect_location"):
                self.assertEqual(self.code_of(system_of, getter(**{name: value})), "InvalidArgument")
            self.assertEqual(self.code_of(content_type_of, getter(content_type=value)), "InvalidArgument")
        self.assertEqual(system_of(getter(cache_control="a\tb é")), {"cache-control": "a\tb é"})
        kept = dict(stored_fields(info(system={"expires": "a\0b\r\nX: y"})))
        self.assertEqual(kept[b"Expires"], b"a b  X: y")

    def test_metadata(self) -> None:
        fields = [("X-Amz-Meta-A", "1"), ("x-amz-meta-b-c", "ä"), ("x-amz-acl", "private")]
        self.assertEqual(checked_metadata(fields), {"a": ["1"], "b-c": ["ä"]})
        checked_metadata([("x-amz-meta-a", "v" * 2047)])
        self.assertEqual(self.code_of(checked_metadata, [("x-amz-meta-a", "v" * 2046 + "ä")]), "MetadataTooLarge")

    def test_type(self) -> None:
        self.assertEqual(content_type_of(getter()), "binary/octet-stream")
        self.assertEqual(content_type_of(getter(content_type="text/plain")), "text/plain")

    def test_condition(self) -> None:
        self.assertEqual(condition_of(getter()), ALWAYS)
        self.assertEqual(condition_of(getter(if_none_match="*")), Condition(absent=True))
        self.assertEqual(condition_of(getter(if_match=f'"{MD5}"')), Condition(etag=MD5))
        self.assertEqual(condition_of(getter(if_match="*")), Condition(etag="*"))
        self.assertEqual(condition_of(getter(if_match=f'"{"0" * 48}-1"')), Condition(etag="0" * 48))
        for fields in (
            {"if_none_match": f'"{MD5}"'},
            {"if_none_match": "*", "if_match": "x"},
            {"if_match": '"a", "b"'},
            {"if_modified_since": "x"},
            {"if_unmodified_since": "x"},
        ):
            self.assertEqual(self.code_of(condition_of, getter(**fields)), "NotImplemented")

    def test_limit(self) -> None:
        self.assertEqual(
            [limit_of(text, "max-parts") for text in (None, "", "0", "7", "5000")], [1000, 1000, 0, 7, 1000]
        )
        self.assertEqual(limit_of("5000", "part-number-marker", 0, None), 5000)
        for text in ("x", "-1", "1.5", "2147483648", "٣", "9" * 5000):
            self.assertEqual(self.code_of(limit_of, text, "max-parts"), "InvalidArgument")

    def test_source(self) -> None:
        for text in ("box/a%20b/c", "/box/a b/c", "box/a%20b/c?versionId=null"):
            found = source_of(text, "x-amz-copy-source")
            self.assertEqual((found.bucket, found.key), ("box", "a b/c"))
        self.assertEqual(source_of("box/a+b%3F%2B", "x-amz-copy-source").key, "a b?+")
        for text in ("", "box", "box/", "//x", "box/%ff", "arn:aws:s3:us-east-1:1:accesspoint/p/object/k"):
            self.assertEqual(self.code_of(source_of, text, "x-amz-copy-source"), "InvalidArgument")
        self.assertEqual(self.code_of(source_of, "box/a?versionId=7", "x-amz-copy-source"), "NoSuchVersion")

    def test_holds(self) -> None:
        """Each condition by itself, and which counts of two."""
        there = info(created=1_000_000_000 * 10**9)  # 2001-09-09 01:46:40
        before, then = "Sun, 09 Sep 2001 01:46:39 GMT", "Sun, 09 Sep 2001 01:46:40 GMT"
        for given, expected in (
            ({}, True),
            ({"match": f'"{MD5}"'}, True),
            ({"match": f'"x", "{MD5}"'}, True),
            ({"match": "*"}, True),
            ({"match": "x"}, False),
            ({"none-match": "x"}, True),
            ({"none-match": MD5}, False),
            ({"none-match": "*"}, False),
            ({"modified-since": before}, True),
            ({"modified-since": then}, False),
            ({"modified-since": "2001-09-09T01:46:40Z"}, False),
            ({"modified-since": "whenever"}, True),
            ({"unmodified-since": then}, True),
            ({"unmodified-since": before}, False),
            ({"match": MD5, "unmodified-since": before}, True),
            ({"none-match": "x", "modified-since": then}, True),
            ({"none-match": MD5, "modified-since": before}, False),
        ):
            self.assertEqual(holds(given, there), expected, given)


class ResponseTests(SynchronousTestCase):
    """What responses say."""

    def test_etags(self) -> None:
        """What is shown is understood, whatever door stored it."""
        for etag, shown in (
            (MD5, MD5),
            (f"{MD5}-3", f"{MD5}-3"),
            (f"{MD5}-1", f"{MD5}-1"),
            ("0" * 48, "0" * 48 + "-1"),
        ):
            self.assertEqual(quoted(etag), f'"{shown}"')
            self.assertEqual(kept_etag(quoted(etag)), etag)
            self.assertEqual(kept_etag(shown), etag)

    def test_times(self) -> None:
        self.assertEqual(iso_time(1_000_000_000_123_456_789), "2001-09-09T01:46:40.123Z")
        self.assertEqual(iso_time(-5), "1970-01-01T00:00:00.000Z")

    def test_fields(self) -> None:
        system = {"cache-control": "no-cache", "storage-class": "STANDARD_IA", "tagging": "a=b&c=d", "owner": "x"}
        there = info(MD5, 0, system, **{"a": "1", "b": "ä", "not a name": "x", "c": ""})
        self.assertEqual(
            list(stored_fields(there)),
            [
                (b"Cache-Control", b"no-cache"),
                (b"x-amz-storage-class", b"STANDARD_IA"),
                (b"x-amz-tagging-count", b"2"),
                (b"x-amz-meta-a", b"1"),
                (b"x-amz-meta-b", b"=?UTF-8?B?w6Q=?="),
                (b"x-amz-meta-c", b""),
                (b"x-amz-missing-meta", b"1"),
            ],
        )
