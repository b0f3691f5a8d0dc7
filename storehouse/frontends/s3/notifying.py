"""
The notification configuration of a bucket: C{?notification}. L{storehouse.storage.notifications} delivers the events.

Source: C{PutBucketNotificationConfiguration} of Amazon's S3 API reference.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from storehouse.core.turns import breath
from storehouse.core.xmltext import XML, Node, document, element, text
from storehouse.errors import BadRequest, NotSupported
from storehouse.frontends.http.reply import Reply
from storehouse.frontends.s3.access.owning import audit_change
from storehouse.frontends.s3.call import Call
from storehouse.frontends.s3.errors import S3Error
from storehouse.frontends.s3.route import handler
from storehouse.storage.notifications.values import (
    CONFIGURATION,
    KINDS,
    MOST_RULES,
    Rule,
    decode_rules,
    encode_rules,
    make_rule,
)

__all__: list[str] = []

#: Bytes of a document: a hundred rules with the longest filters fit.
_MOST = 512 << 10


@handler("GetBucketNotificationConfiguration")
async def get_bucket_notification_configuration(call: Call) -> Reply:
    """The notification configuration of the bucket."""
    data = await call.store.bucket_config(call.bucket, CONFIGURATION)
    rules = () if data is None else decode_rules(data)
    return Reply(200, document("NotificationConfiguration", *map(_written, rules)), XML)


def _written(rule: Rule) -> str:
    filters = [
        element("FilterRule", text("Name", name), text("Value", value))
        for name, value in (("Prefix", rule.prefix), ("Suffix", rule.suffix))
        if value
    ]
    return element(
        f"{rule.kind}Configuration",
        text("Id", rule.id),
        text(rule.kind, rule.arn),
        *(text("Event", event) for event in rule.events),
        *([element("Filter", element("S3Key", *filters))] if filters else []),
    )


@handler("PutBucketNotificationConfiguration")
async def put_bucket_notification_configuration(call: Call) -> Reply:
    """Have the bucket announce what the document says, and nothing else. Each destination gets a test event."""
    node = await call.read_document("NotificationConfiguration", _MOST)
    if len(node.children) > MOST_RULES:
        raise S3Error("InvalidArgument", f"A bucket has at most {MOST_RULES} notification configurations")
    rules = []
    try:
        for child in node.children:
            await breath()
            rules.append(_rule(child))
        await call.door.store.set_bucket_config(call.bucket, CONFIGURATION, encode_rules(rules) if rules else None)
    except NotSupported as error:
        raise S3Error("NotImplemented", error.detail) from error
    except BadRequest as error:
        raise S3Error("InvalidArgument", error.detail) from error
    audit_change(call, CONFIGURATION if rules else f"remove-{CONFIGURATION}", call.bucket)
    return Reply(200, b"", b"")


def _rule(node: Node) -> Rule:
    """
    @raise S3Error: C{MalformedXML} for another form.
    @raise BadRequest: for values that are not possible.
    """
    if node.name == "EventBridgeConfiguration":
        raise S3Error(
            "NotImplemented", "EventBridgeConfiguration is not implemented: name a destination of this server"
        )
    kind = node.name.removesuffix("Configuration")
    if kind not in KINDS or not node.name.endswith("Configuration"):
        raise S3Error("MalformedXML")
    known = ("Id", kind, "Event", "Filter")
    if any(child.name not in known for child in node.children):
        raise S3Error("MalformedXML")
    arns, ids, filters = list(node.all(kind)), list(node.all("Id")), list(node.all("Filter"))
    if len(arns) != 1 or len(ids) > 1 or len(filters) > 1:
        raise S3Error("MalformedXML")
    id = node.value("Id") or secrets.token_urlsafe(24)
    events = [each.text.strip() for each in node.all("Event")]
    return make_rule(id, kind, node.value(kind), events, [pair for each in filters for pair in _filters(each)])


def _filters(node: Node) -> Iterator[tuple[str, str]]:
    keys = list(node.all("S3Key"))
    if len(keys) != len(node.children) or len(keys) > 1:
        raise S3Error("MalformedXML")
    for key in keys:
        for rule in key.children:
            if rule.name != "FilterRule" or {each.name for each in rule.children} - {"Name", "Value"}:
                raise S3Error("MalformedXML")
            yield rule.value("Name"), rule.text_of("Value")
