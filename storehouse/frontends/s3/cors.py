"""
Requests of pages of other origins (CORS): a bucket's rules, the preflights that browsers send, and the fields by which a
response lets a page read it.

A preflight has no signature, and says nothing but what the rules say. The fields are on every response to an origin that a rule
allows, on errors, too.

Sources: "Using cross-origin resource sharing" of Amazon's S3 documents; the Fetch standard, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import attrs

from storehouse.core.turns import breath
from storehouse.core.xmltext import XML, Node, document, element, parse, text
from storehouse.errors import NotFound, StorehouseError
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.access.owning import audit_change
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.fields import read_checked_document
from storehouse.frontends.s3.route import handler

__all__ = ["CONFIGURATION", "Rule", "add_fields"]

#: What a bucket's rules are kept as: the document that clients get.
CONFIGURATION = "cors"

_MOST, _MOST_RULES = 64 << 10, 100

#: Header fields that a preflight can ask for: no request could have more.
_MOST_ASKED = 100

_METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")

_VARY = b"Origin, Access-Control-Request-Headers, Access-Control-Request-Method"


@attrs.frozen
class Rule:
    """
    What pages of some origins may do.

    @ivar origins: each with at most one asterisk, for any characters.
    @ivar headers: that requests may have, likewise; in lower case.
    @ivar exposed: headers of responses that pages may read.
    @ivar max_age: seconds for which a browser may remember that; C{None} for its own default.
    """

    id: str
    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    exposed: tuple[str, ...]
    max_age: int | None

    async def allows(self, origin: str, method: str, headers: Iterable[str] = ()) -> bool:
        """Whether it is for a request. A rule of thousands of patterns takes milliseconds, while others are served."""
        if method not in self.methods or not any(_matches(pattern, origin) for pattern in self.origins):
            return False
        for header in headers:
            await breath()
            if not any(_matches(pattern, header) for pattern in self.headers):
                return False
        return True

    def fields(self, origin: str) -> Iterator[tuple[bytes, bytes]]:
        """Those of a response to an origin that it allows."""
        is_any = "*" in self.origins
        yield b"Access-Control-Allow-Origin", b"*" if is_any else origin.encode()
        yield b"Access-Control-Allow-Methods", ", ".join(self.methods).encode()
        if self.exposed:
            yield b"Access-Control-Expose-Headers", ", ".join(self.exposed).encode()
        if self.max_age is not None:
            yield b"Access-Control-Max-Age", b"%d" % self.max_age
        if not is_any:
            yield b"Access-Control-Allow-Credentials", b"true"


def _matches(pattern: str, value: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == value
    return len(value) >= len(before) + len(after) and value.startswith(before) and value.endswith(after)


# -- the configuration -----------------------------------------------------------------------------


def _read(configuration: Node) -> tuple[Rule, ...]:
    """
    The rules of a document C{CORSConfiguration}.

    @raise S3Error: if it is of another form, or a rule cannot be one.
    """
    if not 0 < len(configuration.children) <= _MOST_RULES:
        raise S3Error("MalformedXML")
    return tuple(map(_rule, configuration.children))


def _rule(node: Node) -> Rule:
    found: dict[str, list[str]] = {}
    for child in node.children:
        if child.children:
            raise S3Error("MalformedXML")
        found.setdefault(child.name, []).append(child.text.strip())
    ids, ages = found.pop("ID", []), found.pop("MaxAgeSeconds", [])
    origins, methods = found.pop("AllowedOrigin", []), found.pop("AllowedMethod", [])
    headers, exposed = found.pop("AllowedHeader", []), found.pop("ExposeHeader", [])
    if node.name != "CORSRule" or found or not origins or not methods or len(ids) > 1 or len(ages) > 1:
        raise S3Error("MalformedXML")
    for method in methods:
        if method not in _METHODS:
            raise S3Error(
                "InvalidRequest", f"Found unsupported HTTP method in CORS config. Unsupported method is {method[:100]}"
            )
    for kind, patterns in ("AllowedOrigin", origins), ("AllowedHeader", headers):
        for pattern in patterns:
            if pattern.count("*") > 1:
                raise S3Error("InvalidRequest", f'{kind} "{pattern[:200]}" can not have more than one wildcard.')
    for name in exposed:
        if "*" in name:
            raise S3Error(
                "InvalidRequest",
                f'ExposeHeader "{name[:200]}" contains wildcard. We currently do not support wildcard for ExposeHeader.',
            )
    for value in (*origins, *exposed):
        if not value.isprintable() or not value.isascii():
            raise S3Error("InvalidRequest", "An origin or a header of a CORS rule has characters that none can have")
    if ids and len(ids[0]) > 255:
        raise S3Error("InvalidRequest", "The ID of a CORS rule has more than 255 characters")
    if ages and not (ages[0].isascii() and ages[0].isdigit() and len(ages[0]) < 10):
        raise S3Error("MalformedXML")
    lower = tuple(header.lower() for header in headers)
    max_age = int(ages[0]) if ages else None
    return Rule(ids[0] if ids else "", tuple(origins), tuple(methods), lower, tuple(exposed), max_age)


def _written(rules: Iterable[Rule]) -> bytes:
    return document("CORSConfiguration", *map(_written_rule, rules))


def _written_rule(rule: Rule) -> str:
    return element(
        "CORSRule",
        *([text("ID", rule.id)] if rule.id else []),
        *(text("AllowedMethod", method) for method in rule.methods),
        *(text("AllowedOrigin", origin) for origin in rule.origins),
        *(text("AllowedHeader", header) for header in rule.headers),
        *(text("ExposeHeader", header) for header in rule.exposed),
        *([] if rule.max_age is None else [text("MaxAgeSeconds", rule.max_age)]),
    )


@lru_cache(256)
def _kept(data: bytes) -> tuple[Rule, ...]:
    return _read(parse(data, "CORSConfiguration"))


@handler("GetBucketCors")
async def get_bucket_cors(call: Call) -> Reply:
    """The rules of a bucket."""
    kept = await call.store.bucket_config(call.bucket, CONFIGURATION)
    if kept is None:
        raise S3Error("NoSuchCORSConfiguration", BucketName=call.bucket)
    return Reply(200, kept, XML)


@handler("PutBucketCors")
async def put_bucket_cors(call: Call) -> Reply:
    """Give a bucket other rules in place of all that it has."""
    rules = _read(await read_checked_document(call, "CORSConfiguration", _MOST))
    await call.store.set_bucket_config(call.bucket, CONFIGURATION, _written(rules))
    audit_change(call, "cors", call.bucket)
    return Reply(200, b"", b"")


@handler("DeleteBucketCors")
async def delete_bucket_cors(call: Call) -> Reply:
    """Take all rules of a bucket."""
    await call.store.set_bucket_config(call.bucket, CONFIGURATION, None)
    audit_change(call, "remove-cors", call.bucket)
    return Reply(204, b"", b"")


# -- requests of pages -----------------------------------------------------------------------------


async def _rules_of(call: Call) -> tuple[Rule, ...]:
    """Those of the bucket; none if there is none, which is not told to those who ask without a signature."""
    if not call.bucket:
        return ()
    try:
        kept = await call.store.bucket_config(call.bucket, CONFIGURATION)
    except NotFound:
        return ()
    return () if kept is None else _kept(bytes(kept))


async def add_fields(call: Call) -> None:
    """
    Let the page that made a request read its response, whatever that will be, if a rule allows it. A failure to read the rules
    lets it read nothing, and nothing else.
    """
    origin = call.request.requestHeaders.getRawHeaders(b"Origin", [])
    if len(origin) != 1 or call.operation == "Preflight":
        return
    method = call.request.method.decode("ascii", "replace")
    try:
        name = origin[0].strip().decode("ascii")
        rules = await _rules_of(call)
    except (StorehouseError, UnicodeDecodeError):
        return
    if rules:
        call.request.added += ((b"Vary", _VARY),)
    for rule in rules:
        if await rule.allows(name, method):
            call.request.added += tuple(rule.fields(name))
            return


@handler("Preflight")
async def preflight(call: Call) -> Reply:
    """Say whether a page may make a request, and with which header fields."""
    origin, method = call.header("Origin"), call.header("Access-Control-Request-Method")
    if origin is None:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    if method not in _METHODS:
        raise S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {(method or 'null')[:100]}")
    asked = (call.header("Access-Control-Request-Headers") or "").lower().split(",")
    headers = list(dict.fromkeys(name.strip() for name in asked if name.strip()))
    if len(headers) > _MOST_ASKED:
        raise S3Error("BadRequest", f"Access-Control-Request-Headers names more than {_MOST_ASKED} header fields")
    rules = await _rules_of(call)
    kind = "OBJECT" if call.key else "BUCKET"
    if not rules:
        raise S3Error(
            "AccessForbidden", "CORSResponse: CORS is not enabled for this bucket.", Method=method, ResourceType=kind
        )
    for rule in rules:
        if await rule.allows(origin, method, headers):
            allowed = ((b"Access-Control-Allow-Headers", ", ".join(headers).encode()),) if headers else ()
            return Reply(200, b"", b"", (*rule.fields(origin), *allowed, (b"Vary", _VARY)))
    raise S3Error(
        "AccessForbidden",
        "CORSResponse: This CORS request is not allowed. No rule of the bucket allows this origin, method and these headers.",
        Method=method,
        ResourceType=kind,
    )
