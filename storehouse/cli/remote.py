"""The object store and the users of a root on which a service runs, through its socket file. Source: docs/objects.rst."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import attrs

from storehouse import errors
from storehouse.cli.client import Body, Client, Done, Response, Server
from storehouse.cli.errors import CommandError, Refused
from storehouse.errors import BadRequest, RemoteUnavailable, StorehouseError
from storehouse.storage.accounts.interfaces import NewKey, Rights, TemporaryKey, User
from storehouse.storage.namespace.interfaces import Bucket
from storehouse.storage.objects.values import (
    ALWAYS,
    Condition,
    Indexed,
    Listing,
    Metadata,
    ObjectInfo,
    Problem,
    VersionListing,
)

__all__ = ["SocketAccounts", "SocketStore", "Stream"]

T = TypeVar("T")

#: Seconds in which a service says that it is there. For what it does later it has any time.
_PATIENCE = 60.0

#: Bytes of a header field that has the metadata, which a service takes.
_MAX_METADATA = 12 * 1024


class Stream(Protocol):
    """L{IByteStream<storehouse.core.streams.IByteStream>}, for those who must not import Twisted."""

    def read(self) -> Awaitable[bytes | memoryview]: ...

    def close(self) -> Awaitable[object]: ...


class _Reading:
    """
    A range of an object that is on its way, as a stream.

    @ivar length: bytes of the range.
    @param explain: finds out why the object cannot be read from a byte of the range on.
    """

    def __init__(self, client: Client, response: Response, explain: Callable[[int], None]) -> None:
        self.length = response.size or 0
        self._client = client
        self._pieces = response.pieces()
        self._explain = explain
        self._count = 0

    async def read(self) -> bytes:
        """The next piece. @raise StorehouseError: if it ends too early, with the reason."""
        with _translated():
            try:
                piece = next(self._pieces, b"")
            except CommandError:
                # Its response had begun: the service could only break it off. Asked again, it says why.
                self._client.close()
                self._explain(self._count)
                raise
        self._count += len(piece)
        return piece

    def close(self) -> Awaitable[None]:
        """Give up what is left."""
        self._client.close()
        return Done()


class SocketStore:
    """
    The methods of L{IObjectStore<storehouse.storage.objects.interfaces.IObjectStore>} and C{IMaintained} that commands need,
    as coroutines that wait for the service where they are called. They raise L{StorehouseError}s: those of the service, and
    L{RemoteUnavailable} if it does not respond. A context manager: leaving it closes the connection.

    @param path: of the socket file.
    @raise RemoteUnavailable: if nobody listens there, or what listens does not respond.
    """

    def __init__(self, path: str) -> None:
        with _translated(), Client(Server.on_socket(path), _PATIENCE) as client:
            for _ in client.request("GET", "/").pieces():
                pass
        self._client = Client(Server.on_socket(path), None)

    def __enter__(self) -> SocketStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    async def create_bucket(self, name: str) -> Bucket:
        """Make a bucket."""
        return self.value(Bucket, self.ask("PUT", _path("buckets", name)))

    async def get_bucket(self, name: str) -> Bucket:
        """What is known of a bucket."""
        return self.value(Bucket, self.ask("GET", _path("buckets", name)))

    async def set_bucket_metadata(self, name: str, metadata: Metadata) -> Bucket:
        """Give a bucket other metadata."""
        return self.value(Bucket, self.ask("PUT", f"{_path('buckets', name)}/metadata", {"metadata": metadata}))

    async def delete_bucket(self, name: str) -> None:
        """Remove a bucket."""
        self.ask("DELETE", _path("buckets", name))

    async def list_buckets(self) -> list[Bucket]:
        """All buckets, in order of their names."""
        return [self.value(Bucket, value) for value in self.member(self.ask("GET", "/buckets"), "buckets", list)]

    async def list_objects(
        self, bucket: str, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        """A page of a bucket."""
        query: list[tuple[str, str | int]] = [
            ("prefix", prefix),
            ("delimiter", delimiter),
            ("after", after),
            ("limit", limit),
        ]
        with _translated():
            response = self._client.request("GET", f"{_path('buckets', bucket)}/objects", query).json("listing")
        return Listing(
            [self.value(ObjectInfo, value) for value in self.member(response, "objects", list)],
            self.member(response, "prefixes", list),
            self.optional(response, "next_after", str),
            self.optional(response, "damaged", list) or [],
            self.optional(response, "unknown", int) or 0,
        )

    async def list_versions(
        self,
        bucket: str,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        version_marker: str = "",
        limit: int = 1000,
    ) -> VersionListing:
        """A page of the versions of a bucket."""
        query: list[tuple[str, str | int]] = [
            ("prefix", prefix),
            ("delimiter", delimiter),
            ("key_marker", key_marker),
            ("version_marker", version_marker),
            ("limit", limit),
        ]
        with _translated():
            response = self._client.request("GET", f"{_path('buckets', bucket)}/versions", query).json("listing")
        return VersionListing(
            [self.value(ObjectInfo, value) for value in self.member(response, "versions", list)],
            self.member(response, "prefixes", list),
            self.optional(response, "next_key_marker", str),
            self.member(response, "next_version_marker", str),
            [(str(key), str(id)) for key, id in self.member(response, "damaged", list)],
        )

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """What is known of an object."""
        return self.value(ObjectInfo, self.ask("GET", _path("info", bucket, key)))

    async def put(
        self,
        bucket: str,
        key: str,
        stream: Stream,
        size: int | None,
        content_type: str = "",
        metadata: Metadata | None = None,
        condition: Condition = ALWAYS,
        md5: bool = False,
    ) -> ObjectInfo:
        """Store an object, read from the stream as the service takes it. The stream is closed."""
        # Also if it is empty: a body without the field gets the type that its key says.
        fields = {"Content-Type": content_type}
        if metadata:
            fields["Storehouse-Metadata"] = json.dumps(metadata)
            if len(fields["Storehouse-Metadata"]) > _MAX_METADATA:
                raise BadRequest(f"the metadata has more than {_MAX_METADATA} bytes, the limit of a running service")
        if condition.absent:
            fields["If-None-Match"] = "*"
        if condition.etag is not None:
            fields["If-Match"] = condition.etag if condition.etag == "*" else f'"{condition.etag}"'
        query: list[tuple[str, str | int]] = [("md5", "1")] if md5 else []
        try:
            with _translated():
                begun = self._client.begin("PUT", _path("objects", bucket, key), query, size, fields)
            with begun as request:
                while piece := await stream.read():
                    with _translated():
                        if not request.send(piece):
                            break
                with _translated():
                    response = request.response()
            with _translated():
                return self.value(ObjectInfo, response.json("response"))
        finally:
            await stream.close()

    async def get(self, bucket: str, key: str, offset: int = 0, length: int | None = None) -> _Reading:
        """Open a range of an object: what there is of it."""
        with _translated():
            response = self._get(bucket, key, offset, length)
        etag = response.header_field("ETag")

        def explain(count: int) -> None:
            self._get(bucket, key, offset + count, 1, {"If-Match": etag})
            self._client.close()

        return _Reading(self._client, response, explain)

    def _get(
        self, bucket: str, key: str, offset: int, length: int | None, fields: Mapping[str, str] | None = None
    ) -> Response:
        headers = dict(fields or {})
        if offset or length is not None:
            headers["Range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
        return self._client.request("GET", _path("objects", bucket, key), headers=headers)

    async def delete(self, bucket: str, key: str) -> ObjectInfo:
        """Remove an object."""
        return self.value(ObjectInfo, self.ask("DELETE", _path("objects", bucket, key)))

    async def copy(
        self,
        bucket: str,
        key: str,
        source_bucket: str,
        source_key: str,
        content_type: str | None = None,
        metadata: Metadata | None = None,
        condition: Condition = ALWAYS,
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
        return self.value(ObjectInfo, self.ask("POST", "/copy", wanted))

    async def check(self, progress: Callable[[int], object] | None = None, repair: bool = False) -> list[Problem]:
        """Compare keys, index and bytes."""
        problems: list[Problem] = []
        self._follow(
            "/check", [("repair", "1")] if repair else [], progress,
            lambda value: problems.append(self.value(Problem, value)),
        )  # fmt: skip
        return problems

    async def reindex(self, progress: Callable[[int], object] | None = None) -> Indexed:
        """Rebuild the index of keys."""
        told: dict[str, Any] = {}
        keys = self._follow("/reindex", [], progress, told.update)
        return Indexed(keys, told.get("damaged", 0), told.get("unknown", 0))

    def rekey(
        self, new_master: bytes | None, on_total: Callable[[int], object], on_progress: Callable[[int], object]
    ) -> dict[str, object]:
        """
        Change the master key.

        @param new_master: C{None} to continue a rekey that was begun.
        @return: how many C{objects} and C{uploads} were rekeyed and are C{plain}, and what is C{damaged}.
        """
        given = {} if new_master is None else {"new_master_key": base64.b64encode(new_master).decode("ascii")}
        told: dict[str, Any] = {"uploads": 0, "plain": 0, "damaged": []}
        body = Body.of(json.dumps(given).encode())
        told["objects"] = self._follow("/rekey", [], on_progress, told.update, on_total, body)
        return told

    def hold(self) -> str:
        """Have what is removed kept, until L{release}, or until it is not renewed for a minute. @return: what names that."""
        return self.member(self.ask("POST", "/hold"), "hold", str)

    def renew(self, name: str) -> None:
        """@raise StorehouseError: if it has ended."""
        self.ask("POST", _path("hold", name))

    def release(self, name: str) -> None:
        """End a hold: the service removes what it kept for it."""
        self.ask("DELETE", _path("hold", name))

    def _follow(
        self,
        path: str,
        query: list[tuple[str, str | int]],
        progress: Callable[[int], object] | None,
        found: Callable[[Any], object],
        on_total: Callable[[int], object] = lambda total: None,
        body: Body | None = None,
    ) -> int:
        done: int | None = None
        with _translated():
            for line in self._client.request("POST", path, query, body).lines("progress"):
                if "detail" in line:
                    raise Refused(
                        f"{line['detail']} ({line.get('error')})", str(line.get("error")), str(line["detail"])
                    )
                if "progress" in line:
                    if progress is not None:
                        progress(self.member(line, "progress", int))
                elif "total" in line:
                    on_total(self.member(line, "total", int))
                elif "problem" in line:
                    found(line["problem"])
                elif "damaged" in line:
                    found(line)
                else:
                    done = self.member(line, "done", int)
        if done is None:
            raise RemoteUnavailable(f"{self._client.server.url} did not say whether it succeeded")
        return done

    def ask(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """One small request, of JSON if it has a body, and its response."""
        given = None if body is None else Body.of(json.dumps(body).encode())
        with _translated():
            return self._client.request(method, path, body=given).json("response")

    def value(self, kind: Callable[..., T], value: object) -> T:
        """A value of the response. @raise RemoteUnavailable: if it is none."""
        try:
            given: Any = value
            return kind(**given)
        except (TypeError, BadRequest):
            raise self._nonsense() from None

    def member(self, response: Mapping[str, object], name: str, kind: type[T]) -> T:
        """A member of the response. @raise RemoteUnavailable: if it has none of that type."""
        value = response.get(name)
        if not isinstance(value, kind):
            raise self._nonsense()
        return value

    def optional(self, response: Mapping[str, object], name: str, kind: type[T]) -> T | None:
        """A member of the response; C{None} if it is missing or null. @raise RemoteUnavailable: if it is of another type."""
        return None if response.get(name) is None else self.member(response, name, kind)

    def _nonsense(self) -> RemoteUnavailable:
        return RemoteUnavailable(f"the response from {self._client.server.url} is invalid; is it a storehouse server?")


class SocketAccounts:
    """
    The methods of L{IAccounts<storehouse.storage.accounts.interfaces.IAccounts>} that commands need, as L{SocketStore} has
    those of objects.
    """

    def __init__(self, service: SocketStore) -> None:
        self._service = service

    async def add_user(self, name: str, is_admin: bool = False) -> NewKey:
        """Add a user."""
        return self._key("/users", {"name": name, "is_admin": is_admin})

    async def list_users(self) -> list[User]:
        """All, by name."""
        return [self._service.value(User, value) for value in self._service.member(self._users(), "users", list)]

    async def disable_user(self, name: str) -> User:
        """Refuse the user's key and links from now on, and end all sessions."""
        return self._service.value(User, self._ask(name, "disable"))

    async def enable_user(self, name: str) -> User:
        """Enable a user that was disabled: the access key and signed links work again, old sessions do not."""
        return self._service.value(User, self._ask(name, "enable"))

    async def rotate_key(self, name: str) -> NewKey:
        """Make a new access key; the old one ends."""
        return self._key(f"{_path('users', name)}/rotate", None)

    async def add_key(self, name: str, limits: Sequence[Rights] | None = None, note: str = "") -> NewKey:
        """Make a further access key."""
        given: dict[str, Any] = {"note": note}
        if limits is not None:
            given["limits"] = [attrs.asdict(each) for each in limits]
        return self._key(f"{_path('users', name)}/keys", given)

    async def remove_key(self, name: str, key_id: str) -> User:
        """End a further access key."""
        return self._service.value(User, self._ask(name, "remove-key", key_id=key_id))

    async def grant(self, name: str, rights: Rights) -> User:
        """Give a user rights."""
        return self._service.value(User, self._ask(name, "grant", **attrs.asdict(rights)))

    async def revoke(self, name: str, rights: Rights | None) -> User:
        """Take rights away; C{None}: all."""
        given = {"all": True} if rights is None else attrs.asdict(rights)
        return self._service.value(User, self._ask(name, "revoke", **given))

    async def make_sign_in_token(self, name: str, lifetime: float) -> str:
        """A token that signs a user in once. @param lifetime: seconds."""
        return self._service.member(self._ask(name, "sign-in", lifetime=float(lifetime)), "token", str)

    def sign_link(
        self,
        user: User,
        method: str,
        path: str,
        expires: float,
        max_bytes: int | None = None,
        once: bool = False,
        is_prefix: bool = False,
    ) -> str:
        """The query of a link. @param expires: seconds since 1970 UTC."""
        how = {"max_bytes": max_bytes, "once": once, "is_prefix": is_prefix}
        response = self._ask(user.name, "links", method=method, path=path, expires=float(expires), **how)
        return self._service.member(response, "query", str)

    def sign_rights(
        self, user: User, rights: Rights, expires: float, max_bytes: int | None = None, once: bool = False
    ) -> str:
        """The query of a link that gives rights."""
        how = {"max_bytes": max_bytes, "once": once}
        response = self._ask(user.name, "links", **attrs.asdict(rights), expires=float(expires), **how)
        return self._service.member(response, "query", str)

    def issue_temporary(
        self,
        user: User,
        key_id: str,
        lifetime: float,
        name: str = "",
        rights: Sequence[Rights] | None = None,
        policy: str | None = None,
    ) -> TemporaryKey:
        """A temporary access key. @param lifetime: seconds."""
        limits = None if rights is None else [attrs.asdict(each) for each in rights]
        response = self._ask(
            user.name, "session", lifetime=float(lifetime), key_id=key_id, name=name, rights=limits, policy=policy
        )
        id, secret, token = (self._service.member(response, each, str) for each in ("key_id", "secret", "token"))
        return TemporaryKey(id, secret, token, self._service.member(response, "expires", int))

    async def read_url(self) -> str | None:
        """The URL of the door of uploads, if it is known."""
        url = self._users().get("url")
        return url if isinstance(url, str) else None

    def _users(self) -> dict[str, Any]:
        return self._service.ask("GET", "/users")

    def _ask(self, name: str, action: str, /, **given: Any) -> dict[str, Any]:
        return self._service.ask("POST", f"{_path('users', name)}/{action}", given or None)

    def _key(self, path: str, given: Any) -> NewKey:
        response = self._service.ask("POST", path, given)
        user = self._service.value(User, self._service.member(response, "user", dict))
        secret, key_id = (self._service.member(response, name, str) for name in ("secret", "key_id"))
        return NewKey(user, secret, key_id)


@contextmanager
def _translated() -> Iterator[None]:
    """What the service says becomes the error that it was there."""
    try:
        yield
    except Refused as error:
        kind = getattr(errors, error.kind, None)
        if not (isinstance(kind, type) and issubclass(kind, StorehouseError)):
            raise StorehouseError(error.message) from None
        # Without its __init__, which makes the text from what the service knew.
        translated: StorehouseError = kind.__new__(kind, error.detail)
        raise translated from None
    except CommandError as error:
        raise RemoteUnavailable(error.message) from None


def _path(first: str, *names: str) -> str:
    """A path whose components are these, whatever they contain."""
    return "/".join(("", first, *(quote(name, safe="") for name in names)))
