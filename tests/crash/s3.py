"""Requests to the S3 door that are made beforehand, and sent from many sockets at once."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.integration.process import PATIENCE
from tests.integration.s3clients.case import REGION, S3House

__all__ = ["Client", "Prepared", "race"]


class Prepared:
    """One signed request."""

    def __init__(self, house: S3House, method: str, target: str, body: bytes, fields: Mapping[str, str]) -> None:
        request: Any = AWSRequest(method, house.endpoint + target, dict(fields), body)
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
        S3SigV4Auth(Credentials(house.key_id, house.secret), "s3", REGION).add_auth(request)
        self.method, self.target, self.body = method, target, body
        self.fields = {name: str(value) for name, value in request.headers.items()}

    @property
    def wire(self) -> bytes:
        """As it is sent."""
        fields = {"Host": "HOST", **self.fields, "Content-Length": str(len(self.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{self.method} {self.target} HTTP/1.1\r\n{head}\r\n".encode() + self.body


class Client:
    """
    A client with one connection.

    @ivar answer: the fields of the last response.
    """

    def __init__(self, house: S3House) -> None:
        self._house = house
        self._connection = HTTPConnection("127.0.0.1", house.s3_port, timeout=PATIENCE)
        self.answer: Mapping[str, str] = {}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, method: str, target: str, body: bytes = b"", **fields: str) -> tuple[int, bytes]:
        """@return: the status and the body."""
        prepared = Prepared(
            self._house, method, target, body, {name.replace("_", "-"): fields[name] for name in fields}
        )
        self._connection.request(method, target, body or None, prepared.fields)
        response = self._connection.getresponse()
        found = response.read()
        self.answer = dict(response.getheaders())
        return response.status, found

    def begin(self, target: str) -> str:
        """@return: the ID of an upload in parts."""
        status, body = self.ask("POST", f"{target}?uploads")
        assert status == 200, body
        return body.decode().partition("<UploadId>")[2].partition("</UploadId>")[0]

    def part(self, target: str, upload: str, number: int, data: bytes) -> str:
        """@return: what of it is written in the list of parts."""
        status, body = self.ask("PUT", f"{target}?partNumber={number}&uploadId={upload}", data)
        assert status == 200, body
        return f"<Part><PartNumber>{number}</PartNumber><ETag>{self.answer['ETag']}</ETag></Part>"


def race(house: S3House, requests: list[Prepared]) -> list[tuple[int, bytes]]:
    """Send requests at once, each from a socket of its own. @return: the statuses, and the bodies."""
    sockets = []
    try:
        for _ in requests:
            sockets.append(socket.create_connection(("127.0.0.1", house.s3_port), PATIENCE))
        host = f"127.0.0.1:{house.s3_port}".encode()
        wires = [request.wire.replace(b"HOST", host, 1) for request in requests]
        for each, wire in zip(sockets, wires, strict=True):
            each.sendall(wire)
        answers = []
        for each, request in zip(sockets, requests, strict=True):
            response = HTTPResponse(each, method=request.method)
            response.begin()
            answers.append((response.status, response.read()))
            response.close()
        return answers
    finally:
        for each in sockets:
            each.close()
