"""
C{POST /BUCKET} with a form: a file that a browser sends from a page of anybody's, as a policy allows it that the form has with
it, signed.

The fields before the file say all there is to say; those behind it do not count. The file is stored when the whole form has come
and nothing in it was wrong.

Source: "Browser-Based Uploads Using POST" of Amazon's S3 API reference.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from urllib.parse import quote, urlencode, urlsplit

from storehouse.core.asking import by_form
from storehouse.core.streams import GeneratorStream, IByteStream, Piece, limited
from storehouse.core.turns import breath
from storehouse.core.xmltext import XML, document, parse, text
from storehouse.errors import MalformedBody, TooLarge
from storehouse.frontends.http.multipart import Event, Field, FormLimits, MultipartReader, PartBegun, boundary_of
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.access.owning import audit_refused_signature, new_object
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.checksums import checksums_of
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import (
    check_key,
    checked_metadata,
    content_type_of,
    encryption_fields,
    quoted,
    system_of,
)
from storehouse.frontends.s3.route import handler
from storehouse.frontends.s3.tagsets import check_object_tags, node_tags, write_tags
from storehouse.storage.objects.interfaces import ObjectInfo

__all__: list[str] = []

#: The field that is the file.
_FILE = "file"

#: Bytes of all fields before it, with their names; parts of a form.
_MOST_FIELDS, _MOST_PARTS = 20_000, 200

#: Bytes of a file.
_LARGEST = 5 << 30

#: What may be in the place of the file's name in a key.
_FILENAME = "${filename}"


class _Form:
    """
    A form on its way.

    @ivar fields: those before the file; names in lower case.
    """

    def __init__(self, body: IByteStream, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self._body = body
        limits = FormLimits(parts=_MOST_PARTS, field=_MOST_FIELDS, fields=_MOST_FIELDS)
        self._reader = MultipartReader(boundary, limits, files=(_FILE,))
        self._events: Iterator[Event] = iter(())
        self._has_ended = False

    async def next(self) -> Event | None:
        """What comes next; C{None} behind the last part."""
        try:
            while (event := next(self._events, None)) is None:
                if self._has_ended:
                    return None
                piece = await self._body.read()
                self._has_ended = not piece
                self._events = self._reader.feed(bytes(piece)) if piece else self._reader.finish()
        except MalformedBody as error:
            raise S3Error("MalformedPOSTRequest", error.detail) from None
        except TooLarge as error:
            raise S3Error("MaxPostPreDataLengthExceededError", error.detail) from None
        return event

    async def head(self) -> PartBegun:
        """
        Read up to the file.

        @raise S3Error: C{InvalidArgument} if there is none, or a field is there twice.
        """
        while (event := await self.next()) is not None:
            if isinstance(event, PartBegun):
                if event.name.lower() == _FILE:
                    return event
                raise S3Error(
                    "InvalidArgument", f"The field {event.name[:100]!r} is a file, and only {_FILE} can be one"
                )
            if isinstance(event, Field):
                name = event.name.lower()
                if name in self.fields:
                    raise S3Error(
                        "InvalidArgument", f"The form has more than one field {name[:100]!r}", ArgumentName=name[:100]
                    )
                self.fields[name] = event.value
            await breath()
        raise S3Error(
            "InvalidArgument",
            "POST requires exactly one file upload per request.",
            ArgumentName=_FILE,
            ArgumentValue="0",
        )

    async def bytes(self) -> AsyncGenerator[Piece, None]:
        """Those of the file, once the whole form has come: its last read fails if anything in it is wrong."""
        while isinstance(event := await self.next(), bytes):
            yield event
        while (event := await self.next()) is not None:
            if isinstance(event, PartBegun):
                raise S3Error("IncorrectNumberOfFilesInPostRequest")

    def field(self, name: str) -> str | None:
        """One of them."""
        return self.fields.get(name.lower())

    def acl(self, name: str) -> str | None:
        """The same of an ACL, whose name forms write without a prefix."""
        return self.field(name) or (self.field("acl") if name == "x-amz-acl" else None)


@handler("PostObject")
async def post_object(call: Call) -> Reply:
    """Store the file of a form."""
    by_form.set(True)
    form = _Form(call.body, _boundary(call))
    begun = await form.head()
    key = form.field("key")
    if key is None:
        raise S3Error(
            "InvalidArgument",
            "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.",
            ArgumentName="key",
            ArgumentValue="",
        )
    key = form.fields["key"] = key.replace(_FILENAME, (begun.filename or "").rpartition("/")[2])
    if not key:
        raise S3Error("UserKeyMustBeSpecified")
    check_key(key)
    try:
        signed, policy = call.authenticator.authenticate_form(form.fields, call.bucket)
    except S3Error as error:
        audit_refused_signature(call, error)
        raise
    call.take_caller(signed)
    tags = _tags_of(form)
    call.form = lambda name: tags.get("tagging") if name == "x-amz-tagging" else form.acl(name)
    put = await call.check("PutObject", call.bucket, key)
    system = {**system_of(form.field, tags=False), **tags, **await new_object(put, form.acl)}
    metadata = checked_metadata(form.fields.items())
    checksums = checksums_of(list(form.fields), form.field)
    checksums.keep()
    file: IByteStream = limited(GeneratorStream(form.bytes()), _LARGEST, _too_large)
    if policy is not None:
        file = policy.sized(file)
    stream = checksums.stream(file, call.door.disk, {}, call.door.transfers.batch)
    with call.transfer():
        info: ObjectInfo = await put.store.put(
            call.bucket,
            key,
            stream,
            None,
            content_type_of(form.field),
            metadata,
            md5=checksums.md5(None),
            system=lambda: {**system, **checksums.system()},
        )
    return _stored(call, form, info)


def _boundary(call: Call) -> bytes:
    try:
        return boundary_of((call.header("Content-Type") or "").encode("utf-8"))
    except MalformedBody:
        raise S3Error(
            "PreconditionFailed", Condition="Bucket POST must be of the enclosure-type multipart/form-data"
        ) from None


def _too_large() -> S3Error:
    return S3Error("EntityTooLarge", MaxSizeAllowed=_LARGEST)


def _tags_of(form: _Form) -> dict[str, str]:
    """The field C{tagging} is a document."""
    given = form.field("tagging")
    if given is None:
        return {}
    tags = node_tags(parse(given.encode(), "Tagging"))
    check_object_tags(tags)
    return {"tagging": write_tags(tags)} if tags else {}


def _stored(call: Call, form: _Form, info: ObjectInfo) -> Reply:
    """What a form wants to be answered."""
    etag = quoted(info.etag)
    scheme = "https" if call.request.is_secure else "http"
    host = (call.request.requestHeaders.getRawHeaders(b"Host") or [b""])[0].decode("latin-1")
    path = call.request.path.decode("ascii", "replace").rstrip("/")
    location = f"{scheme}://{host}{path}/{quote(info.key)}"
    headers = (
        (b"ETag", etag.encode("ascii")),
        (b"Location", location.encode("ascii", "replace")),
        *encryption_fields(call),
    )
    page = form.field("success_action_redirect") or form.field("redirect") or ""
    if _is_page(page):
        query = urlencode({"bucket": call.bucket, "key": info.key, "etag": etag})
        place = f"{page}{'&' if urlsplit(page).query else '?'}{query}"
        return Reply(303, b"", b"", ((b"ETag", etag.encode("ascii")), (b"Location", place.encode("ascii"))))
    status = form.field("success_action_status")
    if status == "201":
        body = document(
            "PostResponse",
            text("Location", location),
            text("Bucket", call.bucket),
            text("Key", info.key),
            text("ETag", etag),
        )
        return Reply(201, body, XML, headers)
    return Reply(200 if status == "200" else 204, b"", b"", headers)


def _is_page(page: str) -> bool:
    """Whether somebody can be sent there."""
    try:
        parts = urlsplit(page)
    except ValueError:
        return False
    is_plain = page.isascii() and page.isprintable() and " " not in page
    return is_plain and parts.scheme in ("http", "https") and bool(parts.netloc) and not parts.fragment
