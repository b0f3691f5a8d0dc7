"""C{/download}: the list of what is stored, for people and for programs."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from storehouse.core.names import UPLOADS
from storehouse.core.turns import breath
from storehouse.errors import BadRequest
from storehouse.frontends.http.reply import Reply, long_json_reply
from storehouse.frontends.http.request import StreamingRequest, accepts_html, check_fields, number_of, text_of
from storehouse.frontends.upload import pages
from storehouse.frontends.upload.finding import Found, Wanted, find
from storehouse.frontends.upload.gate import Gate, Visitor
from storehouse.storage.accounts.interfaces import LINK_PARAMETERS
from storehouse.storage.objects.interfaces import IObjectStore, ObjectInfo

__all__ = ["MOST_LISTED", "Listings", "described"]

#: The most files and folders of a page.
MOST_LISTED = 1000

_USUAL = 200

# Rows of the page that are made before others may be served.
_ROWS = 20

# Damaged files that are named on the page.
_MOST_NAMED = 5

#: Bytes of memory that a file takes on its way into a list, about.
_ROW = 2048

_KNOWN = frozenset({b"bucket", b"prefix", b"search", b"sort", b"order", b"after", b"limit", b"recursive", b"format"})

_NO_CACHE = ((b"Cache-Control", b"private, no-store"), (b"Vary", b"Accept"))


class Listings:
    """
    Answers with lists.

    @param bucket: the door's own bucket.
    @param link_lifetime: the seconds for which a link may work, at most.
    """

    def __init__(self, store: IObjectStore, gate: Gate, bucket: str = UPLOADS, link_lifetime: float = 604800.0) -> None:
        self._store = store
        self._gate = gate
        self._bucket = bucket
        self._link_lifetime = link_lifetime

    async def answer(self, request: StreamingRequest) -> Reply:
        """
        A page of the list that the query asks for. For other buckets than the door's own there is JSON only.

        @raise BadRequest: if it is invalid.
        """
        bucket = text_of(request, b"bucket") or self._bucket
        visitor = await self._gate.admit(request, "list", bucket=bucket, key=text_of(request, b"prefix"))
        check_fields(request, _KNOWN | frozenset(LINK_PARAMETERS) if visitor.grant is not None else _KNOWN)
        wanted = _wanted(request, bucket)
        is_page = accepts_html(request) and bucket == self._bucket
        async with request.ahead(wanted.limit * _ROW):
            found = await find(self._store, wanted)
            if is_page:
                return await self._page(request, visitor, wanted, found)
            return await _answer(wanted, found, "" if bucket == self._bucket else bucket)

    async def _page(self, request: StreamingRequest, visitor: Visitor, wanted: Wanted, found: Found) -> Reply:
        page = pages.ListingPage(
            [pages.ListedFile(info.key, info.size, info.created / 1e9, info.content_type) for info in found.files],
            found.folders,
            wanted.prefix,
            wanted.search,
            wanted.sort,
            "desc" if wanted.is_descending else "asc",
            wanted.after,
            found.next_after,
            text_of(request, b"limit"),
            _note(wanted, found),
            visitor.link,
        )
        rows = []
        for row in pages.listing_rows(visitor, page):
            rows.append(row)
            if len(rows) % _ROWS == 0:
                await breath()
        return pages.listing(visitor, page, self._link_lifetime, rows)


def _wanted(request: StreamingRequest, bucket: str) -> Wanted:
    limit = number_of(request, b"limit", _USUAL)
    if not 1 <= limit <= MOST_LISTED:
        raise BadRequest(f"limit must be 1 to {MOST_LISTED}")
    return Wanted(
        bucket,
        text_of(request, b"prefix"),
        text_of(request, b"search"),
        _one_of(request, b"sort", "name", "size", "created"),
        _one_of(request, b"order", "asc", "desc") == "desc",
        text_of(request, b"after"),
        limit,
        _one_of(request, b"recursive", "0", "1") == "1",
    )


def _one_of(request: StreamingRequest, name: bytes, *words: str) -> str:
    """A field that is one of these words; the first if it is not there, or empty, as forms leave it."""
    value = text_of(request, name) or words[0]
    if value not in words:
        raise BadRequest(f"{name.decode('ascii')} is {' or '.join(words)}")
    return value


async def _answer(wanted: Wanted, found: Found, other_bucket: str) -> Reply:
    reply = await long_json_reply(
        {"files": (described(info, other_bucket) for info in found.files), "folders": found.folders},
        {
            "bucket": wanted.bucket,
            "next_after": found.next_after,
            "looked_at": found.looked_at,
            "damaged": found.damaged,
        },
    )
    return Reply(reply.status, reply.body, reply.content_type, _NO_CACHE)


def described(info: ObjectInfo, other_bucket: str = "") -> dict[str, object]:
    """
    A file as programs get it, a JSON object.

    @param other_bucket: where it is, if that is not the door's own bucket.
    """
    query = f"?bucket={other_bucket}" if other_bucket else ""
    told: dict[str, Any] = {
        "name": info.key,
        "size": info.size,
        "created": info.created / 1e9,
        "etag": info.etag,
        "content_type": info.content_type,
        "url": f"/download/{_in_path(info.key)}{query}",
    }
    for name in ("uploader", "via", "crc32c"):
        for value in info.metadata.get(name, ())[:1]:
            told[name] = value
    return told


def _in_path(key: str) -> str:
    """A key in a URL; as one component, if clients would change the folders in it."""
    is_plain = all(component not in ("", ".", "..") for component in key.split("/"))
    return quote(key, safe="/" if is_plain else "")


def _note(wanted: Wanted, found: Found) -> str:
    """What people have to know of a list that is not of everything."""
    notes = []
    if found.damaged:
        names = ", ".join(found.damaged[:_MOST_NAMED]) + (", ..." if len(found.damaged) > _MOST_NAMED else "")
        notes.append(f"Damaged, and not in this list: {names}.")
    if found.looked_at is not None and wanted.is_by_name:
        notes.append(f"Searched {found.looked_at:,} names; the next page continues after them.")
    elif found.looked_at is not None:
        notes.append(f"Too many files to sort all of them: these are from the first {found.looked_at:,} by name.")
    return " ".join(notes)
