"""Tests of L{storehouse.frontends.s3.route}, with the service model of botocore as the truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import botocore.session
from twisted.trial.unittest import SynchronousTestCase

from storehouse.frontends.s3 import door  # noqa: F401  what registers the handlers
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.route import _PARAMETERS, HANDLERS, handler, handler_of, operation_of

#: Operations that were replaced by others at the same place.
REPLACED = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
}

#: What is ours beside the model's.
OWN = {"Preflight", "PostObject", "AppendObject"}


def operations() -> Iterator[tuple[str, str, str, str, dict[str, str], set[str], set[str]]]:
    """
    Every operation: its name, method, bucket, key, the query that it has at least, the header fields that it has at least, and all
    parameters of its query.
    """
    model = botocore.session.get_session().get_service_model("s3")
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, rest = operation.http["requestUri"].partition("?")
        query = dict(parse_qsl(rest, keep_blank_values=True))
        headers, parameters = set(), set()
        shape: Any = operation.input_shape
        for member_name, member in (shape.members if shape is not None else {}).items():
            where, wire = member.serialization.get("location"), member.serialization.get("name")
            is_needed = member_name in shape.required_members
            if where == "querystring":
                parameters.add(wire)
                if is_needed:
                    query[wire] = "1"
            elif where == "header" and is_needed:
                headers.add(wire.lower())
        key = "a/b" if "{Key+}" in path else ""
        bucket = "box" if "{Bucket}" in path else path.strip("/")
        yield name, operation.http["method"], bucket, key, query, headers, parameters


class RouteTests(SynchronousTestCase):
    """Each request is one operation."""

    def test_every_operation(self) -> None:
        """Of the model, each with and without C{x-id}."""
        names = set()
        for name, method, bucket, key, query, headers, _ in operations():
            wanted = REPLACED.get(name, name)
            names.add(wanted)
            with_id = {**query, "x-id": name}
            self.assertEqual(operation_of(method, bucket, key, with_id, headers.__contains__), wanted)
            if name != "ListDirectoryBuckets":  # which has a host of its own, and nothing else that tells it apart
                self.assertEqual(operation_of(method, bucket, key, query, headers.__contains__), wanted)
        self.assertEqual(HANDLERS.keys() - names - OWN, set())

    def test_parameters(self) -> None:
        """Every parameter of the model is known, and none that stands beside sub-resources is taken for one."""
        known = {parameter for *_, parameters in operations() for parameter in parameters} - {"uploadId"}
        self.assertEqual(known - _PARAMETERS, set())
        for parameter in sorted(known - {"partNumber"}):
            for value in ("", "x"):
                self.assertEqual(operation_of("GET", "box", "a", {parameter: value}, set().__contains__), "GetObject")

    def route(self, method: str, bucket: str = "", key: str = "", *headers: str, **query: str) -> str:
        return operation_of(method, bucket, key, {name.replace("_", "-"): value for name, value in query.items()},
                            headers.__contains__)  # fmt: skip

    def refused(self, code: str, method: str, bucket: str = "", key: str = "", *headers: str, **query: str) -> S3Error:
        error = self.assertRaises(S3Error, self.route, method, bucket, key, *headers, **query)
        self.assertEqual(error.code, code)
        return error

    def test_never_the_plain_one(self) -> None:
        """A sub-resource that is unknown, elsewhere, or for another method is no plain operation."""
        self.assertIn("annotated", self.refused("NotImplemented", "GET", "box", annotated="").detail)
        self.refused("NotImplemented", "PUT", "box", "a", policy="")
        self.refused("NotImplemented", "GET", acl="")
        self.assertEqual(self.refused("MethodNotAllowed", "POST", "box", acl="").headers, ((b"Allow", b"GET, PUT"),))
        self.refused("MethodNotAllowed", "HEAD", "box", "a", acl="")
        self.refused("InvalidArgument", "GET", "box", acl="", policy="")
        self.refused("InvalidArgument", "PUT", "box", "a", uploads="", uploadId="1", partNumber="1")
        self.assertEqual(self.route("PUT", "box", "a", partNumber="1"), "UploadPart")
        self.assertEqual(self.route("GET", "box", "a", partNumber="1"), "GetObject")
        self.assertEqual(self.route("PUT", "box", "a", uploadId="1"), "UploadPart")

    def test_plain(self) -> None:
        """What is ignored."""
        self.assertEqual(self.route("GET", "box", other="1"), "ListObjects")
        self.assertEqual(self.route("GET", "box", X_Amz_Signature=""), "ListObjects")
        for method, bucket, key in [("POST", "", ""), ("HEAD", "", ""), ("PATCH", "box", "a"), ("POST", "box", "a")]:
            self.refused("MethodNotAllowed", method, bucket, key)

    def test_headers(self) -> None:
        self.assertEqual(self.route("PUT", "box", "a", "x-amz-copy-source"), "CopyObject")
        self.assertEqual(self.route("PUT", "box", "a", "x-amz-copy-source", acl=""), "PutObjectAcl")
        self.assertEqual(self.route("PUT", "box", "a", "x-amz-write-offset-bytes"), "AppendObject")
        self.assertEqual(self.route("OPTIONS", "box", "a", acl=""), "Preflight")
        self.assertEqual(self.route("POST", "box"), "PostObject")

    def test_handlers(self) -> None:
        error = self.assertRaises(S3Error, handler_of, "SelectObjectContent")
        self.assertEqual((error.code, error.status), ("NotImplemented", 501))
        self.assertIn("SelectObjectContent", error.detail)
        name = next(iter(HANDLERS), None)
        if name is not None:
            self.assertRaises(ValueError, handler(name), HANDLERS[name])
