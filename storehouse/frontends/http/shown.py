"""
What of a request may be logged.

A URL may hold a secret: the signature of a link, the token of a sign-in link. Copied, one may be garbled, so
that the secret is where nobody looks for it. So this does not take secrets out, but lets through only what cannot be
one; the rest is shown as C{...}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

__all__ = ["shown", "shown_error", "shown_name"]

_HIDDEN = b"..."

#: The path before the token of a sign-in link, which signs in anybody who has it.
_SIGN_IN = b"sign-in"

#: Fields of queries that hold no secrets.
_FIELDS = frozenset(
    b"after as bucket delimiter expires follow format from id limit max_bytes md5 method name offset once order"
    b" prefix repair search sort storagePrefix to".split()
)

# Terminals obey some of these, and a log is read at one.
_unprintable = re.compile(rb"[^\x21-\x7e]").sub

# Letters, digits and marks that separate nothing, raw or percent-encoded: of the latter, nothing that would separate if it
# were decoded, nor what would have to be decoded again.
_segment = re.compile(
    rb"(?:[A-Za-z0-9._~!$'()*+,:@\-]|[^\x21-\x7e]|%(?:[89A-Fa-f][0-9A-Fa-f]|2[01247-9A-Ea-e]|3[0-9Aa]|40|5[BbDdEe]|7[Ee]))+\Z"
).match
_value = re.compile(rb"[A-Za-z0-9._~:+\-]{0,128}\Z").match
_piece = re.compile(rb"[A-Za-z0-9_-]{6,}").findall
_small = re.compile(rb"(?:[0-9]{1,6}|/)?\Z").match
_name = re.compile(rb"[A-Za-z_-]{1,16}\Z").match


def shown(uri: bytes, known: Mapping[bytes, object] | None = None) -> str:
    """
    A path with its query, as a log may have it: in ASCII that can be printed, without anything that may be a secret.

    @param known: the resources of the door by their names: what is below others is not shown, nor below one whose
        C{logs_rest} is false. C{None} if they are not known.
    """
    path, mark, query = uri.partition(b"?")
    fields = b"&".join(map(_field, query.split(b"&"))) if query else b""
    return _printable(_path(path, known) + mark + fields)


def shown_name(text: bytes) -> str:
    """A method or the name of a user, as a log may have it."""
    return _printable(text[:128])


def shown_error(error: BaseException, uri: bytes, known: Mapping[bytes, object] | None = None) -> BaseException:
    """
    An error as a log may have it: itself, or, if its text repeats what is not shown of a URL, one from the same place that
    says of which class it is.
    """
    kept = shown(uri, known).encode("ascii")
    texts = (uri, _decoded(uri))
    hidden = {piece for text in texts for piece in _piece(text) if piece not in kept}
    said = repr(error).encode("utf-8", "backslashreplace") + str(error).encode("utf-8", "backslashreplace")
    if not any(piece in said for piece in hidden):
        return error
    return RuntimeError(
        f"{type(error).__qualname__}, whose text has a part of the URL that is not logged"
    ).with_traceback(error.__traceback__)


def _printable(text: bytes) -> str:
    return _unprintable(lambda found: b"%%%02X" % found[0][0], text).decode("ascii")


def _path(path: bytes, known: Mapping[bytes, object] | None) -> bytes:
    if not path.startswith(b"/"):
        return path if path in (b"", b"*") else _HIDDEN
    if path == b"/":
        return path
    first, *rest = path[1:].split(b"/")
    if _decoded(first).lower().startswith(_SIGN_IN) and (rest or len(first) > len(_SIGN_IN)):
        return b"/" + _SIGN_IN + b"/" + _HIDDEN
    if known is not None and first not in known:
        return b"/" + _HIDDEN
    if known is not None and rest and not getattr(known[first], "logs_rest", True):
        return b"/" + first + b"/" + _HIDDEN
    kept = [b""]
    for number, segment in enumerate((first, *rest)):
        is_last = number == len(rest)
        if not (_segment(segment) or (not segment and is_last)) or segment in (b".", b".."):
            return b"/".join([*kept, _HIDDEN])
        kept.append(segment)
    return b"/".join(kept)


def _field(field: bytes) -> bytes:
    name, equals, value = field.partition(b"=")
    if _decoded(name) == b"signature":
        return b"signature=" + _HIDDEN
    if not equals or not _name(name):
        return field if field in _FIELDS or not field else _HIDDEN
    return field if (_value if name in _FIELDS else _small)(value) else name + b"=" + _HIDDEN


def _decoded(text: bytes) -> bytes:
    """Whatever it is when it is decoded again and again."""
    for _ in range(8):
        again = unquote_to_bytes(text)
        if again == text:
            break
        text = again
    return text
