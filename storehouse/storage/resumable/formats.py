"""The state of a resumable upload, and its text: docs/formats/resumable.md. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import attrs

from storehouse.core.checksummed import decode_checksummed, encode_checksummed
from storehouse.core.names import NAME_RULES

__all__ = ["Stage", "State", "decode_state", "encode_state"]

Stage = Literal["open", "complete", "gone"]


def _texts(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(values)


@attrs.frozen(kw_only=True)
class State:
    """What is kept of an upload, apart from its bytes. See the page for each."""

    id: str
    owner: str
    name: str
    names: str
    created: float
    touched: float
    grant: str = ""
    content_type: str = ""
    metadata: Mapping[str, str] = attrs.Factory(dict)
    object_metadata: Mapping[str, Sequence[str]] = attrs.Factory(dict)
    length: int | None = None
    max_bytes: int | None = None
    is_partial: bool = False
    awaits_end: bool = False
    pieces: Sequence[str] = attrs.field(default=(), converter=_texts)
    finals: Sequence[str] = attrs.field(default=(), converter=_texts)
    stage: Stage = "open"
    key: str = ""
    etag: str = ""
    size: int = 0


#: Those that are there only if they say something, so that what knows nothing of them can read the rest.
_OPTIONAL = {"awaitsEnd": "awaits_end"}

_FIELDS = {
    "id": "id",
    "owner": "owner",
    "grant": "grant",
    "name": "name",
    "names": "names",
    "contentType": "content_type",
    "metadata": "metadata",
    "objectMetadata": "object_metadata",
    "length": "length",
    "maxBytes": "max_bytes",
    "isPartial": "is_partial",
    "pieces": "pieces",
    "finals": "finals",
    "stage": "stage",
    "key": "key",
    "etag": "etag",
    "size": "size",
    "created": "created",
    "touched": "touched",
}


def encode_state(state: State) -> bytes:
    """Its text, which ends with a newline."""
    fields: dict[str, Any] = {}
    for name, attribute in _FIELDS.items():
        value = getattr(state, attribute)
        if attribute in ("pieces", "finals"):
            value = list(value)
        elif attribute == "metadata":
            value = dict(value)
        elif attribute == "object_metadata":
            value = {each: list(values) for each, values in value.items()}
        fields[name] = value
    fields |= {name: True for name, attribute in _OPTIONAL.items() if getattr(state, attribute)}
    return encode_checksummed(fields) + b"\n"


def decode_state(data: bytes) -> State:
    """@raise ValueError: saying what is wrong with it."""
    if not data.endswith(b"\n"):
        raise ValueError("it does not end with a newline")
    fields, is_checked = decode_checksummed(data[:-1])
    if not is_checked:
        raise ValueError("it has no checksum")
    wrong = sorted(fields.keys() - _OPTIONAL.keys() ^ _FIELDS.keys())
    if wrong:
        raise ValueError(f"it has missing or unknown fields: {', '.join(wrong)[:200]}")
    for name, value in fields.items():
        if not _CHECKS[name](value):
            raise ValueError(f"{name} cannot be {str(value)[:50]!r}")
    return State(**{attribute: fields[name] for name, attribute in (_FIELDS | _OPTIONAL).items() if name in fields})


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_count_or_none(value: Any) -> bool:
    return value is None or _is_count(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_CHECKS = {
    "id": _is_text,
    "owner": _is_text,
    "grant": _is_text,
    "name": _is_text,
    "names": NAME_RULES.__contains__,
    "contentType": _is_text,
    "metadata": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
    "objectMetadata": lambda value: isinstance(value, dict) and all(map(_are_texts, value.values())),
    "length": _is_count_or_none,
    "maxBytes": _is_count_or_none,
    "isPartial": _is_flag,
    "awaitsEnd": _is_flag,
    "pieces": _are_texts,
    "finals": _are_texts,
    "stage": get_args(Stage).__contains__,
    "key": _is_text,
    "etag": _is_text,
    "size": _is_count,
    "created": _is_time,
    "touched": _is_time,
}
