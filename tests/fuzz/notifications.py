"""
Feeds bytes to what reads the notification configurations of buckets: whatever they are, they are rules that are kept and written as
they were read, or are refused by the client's own fault.

As a program it does so with atheris until it finds a failure that is not meant, or the end of its time;
C{python -m tests.fuzz.notifications SECONDS DIRECTORY}.
"""

from __future__ import annotations

from storehouse.core.xmltext import Node, NotXML, document, parse
from storehouse.errors import BadRequest, Damaged
from storehouse.frontends.s3 import notifying
from storehouse.frontends.s3.errors import S3Error
from storehouse.storage.notifications import values
from storehouse.storage.notifications.values import Change, Rule, check_rules, decode_rules, encode_rules, matching
from tests.fuzz.running import run_fuzzer

__all__ = ["SEEDS", "try_bytes"]

_ROOT = "NotificationConfiguration"


def _seed(*rules: str) -> bytes:
    return b"\0" + document(_ROOT, *rules)


_QUEUE = (
    "<QueueConfiguration><Id>a</Id><Queue>arn:storehouse:sqs:us-east-1::hooks</Queue><Event>s3:ObjectCreated:*</Event>"
    "<Filter><S3Key><FilterRule><Name>prefix</Name><Value>a/</Value></FilterRule><FilterRule><Name>Suffix</Name>"
    "<Value>.jpg</Value></FilterRule></S3Key></Filter></QueueConfiguration>"
)

_TOPIC = (
    "<TopicConfiguration><Topic>arn:storehouse:sns:::hooks</Topic><Event>s3:ObjectRemoved:Delete</Event>"
    "<Event>s3:ObjectTagging:*</Event></TopicConfiguration>"
)

#: Seeds: a first byte that selects the decoder, then a document or its stored form.
SEEDS = [
    _seed(),
    _seed(_QUEUE),
    _seed(_QUEUE, _TOPIC),
    _seed("<EventBridgeConfiguration/>"),
    b"\1"
    + encode_rules([Rule("a", "Queue", "arn:storehouse:sqs:us-east-1::hooks", ("s3:ObjectCreated:*",), "a", "b")]),
]


def try_bytes(data: bytes) -> None:
    """@raise AssertionError: if they do something else."""
    if not data:
        return
    rules = _kept(data[1:]) if data[0] % 2 else _read(data[1:])
    if rules is None:
        return
    again = _read(document(_ROOT, *map(notifying._written, rules)))
    if decode_rules(encode_rules(rules)) != rules:
        raise AssertionError(f"they are not kept: {rules}")
    if all(_is_written(rule) for rule in rules) and again != rules:
        raise AssertionError(f"they are written as others: {again} for {rules}")
    try:
        check_rules(rules, {"hooks"})
    except BadRequest:
        return
    for name in ("ObjectCreated:Put", "ObjectTagging:Delete"):
        change = Change(name, "box", "a/b.jpg", "id")
        found = [rule for rule in rules if rule.matches(name, change.key)]
        if len(found) > 1 or found[:1] != [rule for rule in [matching(rules, change)] if rule]:
            raise AssertionError(f"{found} are about the same")


def _is_written(rule: Rule) -> bool:
    """Whether XML can represent all of it: no spaces around names, no characters that XML lacks, no other line ends."""
    text = rule.id + rule.prefix + rule.suffix
    return bool(rule.id) and rule.id == rule.id.strip() and text.isprintable()


def _read(data: bytes) -> tuple[Rule, ...] | None:
    try:
        node: Node = parse(data, _ROOT)
        return tuple(map(notifying._rule, node.children))
    except (NotXML, BadRequest):
        return None
    except S3Error as error:
        if error.code not in ("MalformedXML", "NotImplemented"):
            raise AssertionError(f"it is refused as {error.code}") from None
        return None


def _kept(data: bytes) -> tuple[Rule, ...] | None:
    try:
        return decode_rules(data)
    except Damaged:
        return None


if __name__ == "__main__":
    run_fuzzer(
        try_bytes, [(notifying, ("_rule", "_filters")), (values, ("make_rule", "check_rules", "decode_rules"))], 2000
    )
