"""Events as they are sent: the JSON of S3 (its "event message structure"), one record a message."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import quote_plus

import attrs

from storehouse.storage.notifications.values import Change, Rule
from storehouse.storage.objects.values import shown_etag

__all__ = ["Circumstances", "event_of", "test_event"]

#: Versions of the structure: those events came later.
_VERSIONS = {"ObjectTagging": "2.3", "ObjectAcl": "2.3"}


@attrs.frozen
class Circumstances:
    """
    The user, address and time of a change.

    @ivar time: seconds since 1970 UTC.
    @ivar user: empty for an anonymous request.
    @ivar address: of the client; empty if it has none.
    """

    time: float
    user: str = ""
    address: str = ""
    request_id: str = ""


def event_of(change: Change, rule: Rule, number: int, about: Circumstances, owner: str, region: str) -> bytes:
    """
    @param number: higher than that of all events before.
    @param owner: of the bucket.
    """
    # Keys are form-encoded, except slashes.
    thing: dict[str, object] = {"key": quote_plus(change.key.encode("utf-8", "surrogatepass"), safe="/")}
    what = change.name.partition(":")[0]
    if what == "ObjectCreated":
        thing["size"] = change.size
    if what != "ObjectRemoved":
        thing["eTag"] = shown_etag(change.etag)
    if change.version:
        thing["versionId"] = change.version
    thing["sequencer"] = f"{number:016X}"
    record = {
        "eventVersion": _VERSIONS.get(what, "2.1"),
        "eventSource": "aws:s3",
        "awsRegion": region,
        "eventTime": _written(about.time),
        "eventName": change.name,
        "userIdentity": {"principalId": about.user},
        "requestParameters": {"sourceIPAddress": about.address},
        "responseElements": {"x-amz-request-id": about.request_id, "x-amz-id-2": ""},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": rule.id,
            "bucket": {
                "name": change.bucket,
                "ownerIdentity": {"principalId": owner},
                "arn": f"arn:aws:s3:::{change.bucket}",
            },
            "object": thing,
        },
    }
    return _encoded({"Records": [record]})


def test_event(bucket: str, about: Circumstances) -> bytes:
    """The event that a destination gets when a bucket is configured to use it."""
    return _encoded(
        {
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": _written(about.time),
            "Bucket": bucket,
            "RequestId": about.request_id,
            "HostId": "",
        }
    )


def _encoded(document: dict[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
