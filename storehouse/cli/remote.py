"""The buckets of a root on which a service runs, through its socket file. Source: docs/objects.rst."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

from storehouse.app.local import Bucket, Condition, Indexed, Listing, Metadata, ObjectInfo, Problem
from storehouse.cli.client import Answer, Body, Client, Server
from storehouse.cli.errors import CommandError

__all__ = ["SocketReading", "SocketStore"]

T = TypeVar("T")

#: Seconds in which a service says that it is there. For what it does later it has any time.
_PATIENCE = 60.0

#: Bytes of a head, which has the metadata, that a service takes.
_MAX_METADATA = 12 * 1024


class SocketReading:
    """
    A range of an object that is on its way.

    @ivar length: bytes of the range.
    @param explain: asks why the object cannot be had from a byte of the range on.
    """

    def __init__(self, client: Client, answer: Answer, explain: Callable[[int], None]) -> None:
        self.length = answer.size or 0
        self._client = client
        self._answer = answer
        self._explain = explain

    def deliver(self, write: Callable[[bytes], object]) -> None:
        """
        Give all of it.

        @raise CommandError: if it ends too early, with the reason.
        """
        count = 0
        pieces = self._answer.pieces()
        while True:
            try:
                piece = next(pieces, None)
            except CommandError:
                # Its answer had begun: the service could only break it off. Asked again, it says why.
                self._client.close()
                self._explain(count)
                raise
            if piece is None:
                return
            write(piece)
            count += len(piece)

    def close(self) -> None:
        """Give it up."""
        self._client.close()


class SocketStore:
    """
    See L{storehouse.cli.store.Store}.

    @param path: of the socket file.
    @raise CommandError: if nobody listens there, or what listens does not answer.
    """

    def __init__(self, path: str) -> None:
        with Client(Server.on_socket(path), _PATIENCE) as client:
            for _ in client.request("GET", "/").pieces():
                pass
        self._client = Client(Server.on_socket(path), None)

    def __enter__(self) -> SocketStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def create_bucket(self, name: str) -> Bucket:
        """Make a bucket."""
        return self._value(Bucket, self._ask("PUT", _path("buckets", name)))

    def get_bucket(self, name: str) -> Bucket:
        """What is known of a bucket."""
        return self._value(Bucket, self._ask("GET", _path("buckets", name)))

    def set_bucket_metadata(self, name: str, metadata: Metadata) -> Bucket:
        """Give a bucket other metadata."""
        return self._value(Bucket, self._ask("PUT", f"{_path('buckets', name)}/metadata", {"metadata": metadata}))

    def delete_bucket(self, name: str) -> None:
        """Remove a bucket."""
        self._ask("DELETE", _path("buckets", name))

    def list_buckets(self) -> list[Bucket]:
        """All."""
        return [self._value(Bucket, value) for value in self._member(self._ask("GET", "/buckets"), "buckets", list)]

    def usage(self, bucket: str) -> tuple[int, int]:
        """How many objects a bucket has, and their bytes."""
        answer = self._ask("GET", f"{_path('buckets', bucket)}/usage")
        return self._member(answer, "objects", int), self._member(answer, "bytes", int)

    def list_objects(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int = 1000) -> Listing:
        """A page of a bucket."""
        query: list[tuple[str, str | int]] = [
            ("prefix", prefix),
            ("delimiter", delimiter),
            ("after", after),
            ("limit", limit),
        ]
        answer = self._client.request("GET", f"{_path('buckets', bucket)}/objects", query).json("listing")
        return Listing(
            [self._value(ObjectInfo, value) for value in self._member(answer, "objects", list)],
            self._member(answer, "prefixes", list),
            answer.get("next_after"),
            answer.get("damaged", []),
            answer.get("unknown", 0),
        )

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """What is known of an object."""
        return self._value(ObjectInfo, self._ask("GET", _path("info", bucket, key)))

    def put(
        self,
        bucket: str,
        key: str,
        pieces: Iterable[bytes],
        size: int | None,
        content_type: str,
        metadata: Metadata,
        condition: Condition,
        md5: bool,
    ) -> ObjectInfo:
        """Store an object; its pieces are taken as they are wanted."""
        # Also if it is empty: a body without the field gets the type that its key says.
        fields = {"Content-Type": content_type}
        if metadata:
            fields["Storehouse-Metadata"] = json.dumps(metadata)
            if len(fields["Storehouse-Metadata"]) > _MAX_METADATA:
                raise CommandError(f"the metadata is more than the {_MAX_METADATA} bytes that a running service takes")
        if condition.absent:
            fields["If-None-Match"] = "*"
        if condition.etag is not None:
            fields["If-Match"] = condition.etag if condition.etag == "*" else f'"{condition.etag}"'
        answer = self._client.request(
            "PUT", _path("objects", bucket, key), [("md5", "1")] if md5 else [], Body(pieces, size), fields
        )
        return self._value(ObjectInfo, answer.json("answer"))

    def get(self, bucket: str, key: str, offset: int = 0, length: int | None = None) -> SocketReading:
        """Open a range of an object: what there is of it."""
        answer = self._get(bucket, key, offset, length)
        etag = answer.field("ETag")

        def explain(count: int) -> None:
            self._get(bucket, key, offset + count, 1, {"If-Match": etag})
            self._client.close()

        return SocketReading(self._client, answer, explain)

    def _get(
        self, bucket: str, key: str, offset: int, length: int | None, fields: Mapping[str, str] | None = None
    ) -> Answer:
        headers = dict(fields or {})
        if offset or length is not None:
            headers["Range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
        return self._client.request("GET", _path("objects", bucket, key), headers=headers)

    def delete(self, bucket: str, key: str) -> ObjectInfo:
        """Remove an object."""
        return self._value(ObjectInfo, self._ask("DELETE", _path("objects", bucket, key)))

    def copy(
        self,
        bucket: str,
        key: str,
        source_bucket: str,
        source_key: str,
        content_type: str | None,
        metadata: Metadata | None,
        condition: Condition,
    ) -> ObjectInfo:
        """Store an object under another key."""
        wanted = {
            "bucket": bucket,
            "key": key,
            "source_bucket": source_bucket,
            "source_key": source_key,
            "content_type": content_type,
            "metadata": metadata,
            "condition": {"absent": condition.absent, "etag": condition.etag},
        }
        return self._value(ObjectInfo, self._ask("POST", "/copy", wanted))

    def check(self, progress: Callable[[int], object], repair: bool) -> list[Problem]:
        """Compare keys, index and bytes."""
        problems: list[Problem] = []
        self._follow(
            "/check", [("repair", "1")] if repair else [], progress,
            lambda value: problems.append(self._value(Problem, value)),
        )  # fmt: skip
        return problems

    def reindex(self, progress: Callable[[int], object]) -> Indexed:
        """Make the index of keys anew."""
        told: dict[str, Any] = {}
        keys = self._follow("/reindex", [], progress, told.update)
        return Indexed(keys, told.get("damaged", 0), told.get("unknown", 0))

    def hold(self) -> str:
        """Have what is removed kept, until L{release}, or until it is not renewed for a minute. @return: what names that."""
        return self._member(self._ask("POST", "/hold"), "hold", str)

    def renew(self, name: str) -> None:
        """@raise CommandError: if it has ended."""
        self._ask("POST", _path("hold", name))

    def release(self, name: str) -> None:
        """End it."""
        self._ask("DELETE", _path("hold", name))

    def _follow(
        self,
        path: str,
        query: list[tuple[str, str | int]],
        progress: Callable[[int], object],
        found: Callable[[Any], object],
    ) -> int:
        done: int | None = None
        for line in self._client.request("POST", path, query).lines("progress"):
            if "detail" in line:
                raise CommandError(f"{line['detail']} ({line.get('error')})")
            if "progress" in line:
                progress(self._member(line, "progress", int))
            elif "problem" in line:
                found(line["problem"])
            elif "damaged" in line:
                found(line)
            else:
                done = self._member(line, "done", int)
        if done is None:
            raise CommandError(f"{self._client.server.url} did not say how it ended")
        return done

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        given = None if body is None else Body.of(json.dumps(body).encode())
        return self._client.request(method, path, body=given).json("answer")

    def _value(self, kind: Callable[..., T], value: Any) -> T:
        try:
            return kind(**value)
        except TypeError:
            raise self._nonsense() from None

    def _member(self, answer: Mapping[str, Any], name: str, kind: type[T]) -> T:
        value = answer.get(name)
        if not isinstance(value, kind):
            raise self._nonsense()
        return value

    def _nonsense(self) -> CommandError:
        return CommandError(f"the answer from {self._client.server.url} makes no sense; is that a storehouse?")


def _path(first: str, *names: str) -> str:
    """A path whose components are these, whatever they contain."""
    return "/".join(("", first, *(quote(name, safe="") for name in names)))
