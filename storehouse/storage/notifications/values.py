"""
What a bucket announces: its rules, as they are checked and kept (docs/formats/events.md), and the changes that they are about.

Source: "Amazon S3 Event Notifications" of Amazon's S3 documents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations

import attrs

from storehouse.errors import BadRequest, Damaged, NotSupported

__all__ = [
    "BEHIND",
    "CONFIGURATION",
    "DEAD",
    "EVENTS",
    "INTENDED",
    "KINDS",
    "MOST_RULES",
    "READY",
    "Change",
    "Queued",
    "Rule",
    "check_rules",
    "decode_rules",
    "destination_of",
    "encode_rules",
    "make_rule",
    "matching",
]

#: What a bucket's rules are kept as.
CONFIGURATION = "notification"

#: The events that happen here, by their kind.
EVENTS = {
    "ObjectCreated": ("Put", "Post", "Copy", "CompleteMultipartUpload"),
    "ObjectRemoved": ("Delete", "DeleteMarkerCreated"),
    "ObjectTagging": ("Put", "Delete"),
    "ObjectAcl": ("Put",),
}

#: Those of S3 that never happen here.
_ELSEWHERE = frozenset(
    {
        "s3:ReducedRedundancyLostObject",
        "s3:IntelligentTiering",
        "s3:ObjectRestore:*",
        "s3:ObjectRestore:Post",
        "s3:ObjectRestore:Completed",
        "s3:ObjectRestore:Delete",
        "s3:Replication:*",
        "s3:Replication:OperationFailedReplication",
        "s3:Replication:OperationNotTracked",
        "s3:Replication:OperationMissedThreshold",
        "s3:Replication:OperationReplicatedAfterThreshold",
        "s3:LifecycleTransition",
        "s3:LifecycleExpiration:*",
        "s3:LifecycleExpiration:Delete",
        "s3:LifecycleExpiration:DeleteMarkerCreated",
    }
)

#: The kinds of configurations, and the service that the ARN of each names.
KINDS = {"Topic": "sns", "Queue": "sqs", "CloudFunction": "lambda"}

#: States of an event: the change may not have been made; the next of its key; behind another of its key; dead letter.
INTENDED, READY, BEHIND, DEAD = range(4)

MOST_RULES = 100
_MOST_ID, _MOST_VALUE = 255, 1024

_arn = re.compile(r"arn:storehouse:(sns|sqs|lambda):([A-Za-z0-9-]*):[0-9]*:([A-Za-z0-9._-]{1,64})", re.ASCII).fullmatch


@attrs.frozen
class Rule:
    """
    What is announced to a destination.

    @ivar id: as the user names it.
    @ivar kind: one of L{KINDS}.
    @ivar arn: as the user wrote it.
    @ivar events: as the user wrote them: C{s3:ObjectCreated:*}.
    @ivar prefix: of the keys.
    @ivar suffix: of the keys.
    """

    id: str
    kind: str
    arn: str
    events: tuple[str, ...]
    prefix: str = ""
    suffix: str = ""

    @property
    def destination(self) -> str:
        """The name of a destination."""
        return destination_of(self.kind, self.arn)

    def matches(self, name: str, key: str) -> bool:
        """
        Whether it is about an event.

        @param name: C{ObjectCreated:Put}.
        """
        return (
            key.startswith(self.prefix)
            and key.endswith(self.suffix)
            and any(each[3:] == name or (each[-1] == "*" and name.startswith(each[3:-1])) for each in self.events)
        )


@attrs.frozen
class Change:
    """
    What is about to happen to a key.

    @ivar name: C{ObjectCreated:Put}.
    @ivar id: of the version that was created, removed, or changed in its metadata.
    @ivar size: of its bytes.
    @ivar etag: as the store has it.
    @ivar version: its ID, where the bucket has versions.
    @ivar field: for a change of metadata: the field of the version's system metadata ...
    @ivar value: ... and its value; C{None} for none.
    """

    name: str
    bucket: str
    key: str
    id: str
    size: int = 0
    etag: str = ""
    version: str = ""
    field: str = ""
    value: str | None = None


@attrs.frozen
class Queued:
    """
    An event in the spool.

    @ivar number: unique, and higher than that of all before: what C{sequencer} says.
    @ivar since: when it was written, seconds since 1970 UTC.
    @ivar attempts: attempts to deliver it.
    @ivar error: why the last attempt failed; empty before.
    @ivar change: what it says; C{None} for a test event, or if it cannot be read here.
    @ivar body: what is sent; empty likewise.
    """

    number: int
    destination: str
    state: int
    due: float
    since: float
    attempts: int
    error: str
    change: Change | None = None
    body: bytes = b""


def matching(rules: Iterable[Rule], change: Change) -> Rule | None:
    """The rule that matches a change. At most one does."""
    return next((rule for rule in rules if rule.matches(change.name, change.key)), None)


# -- checks ----------------------------------------------------------------------------------------


def destination_of(kind: str, arn: str) -> str:
    """
    The name of the destination that an ARN names: C{arn:storehouse:sqs:REGION::NAME}.

    @raise BadRequest: if it names none.
    """
    found = _arn(arn)
    if found is None or found[1] != KINDS.get(kind):
        raise BadRequest(
            f"The ARN could not be parsed: {arn[:200]!r} is not of the form arn:storehouse:{KINDS.get(kind, 'sqs')}:REGION::NAME"
        )
    return found[3]


def make_rule(id: str, kind: str, arn: str, events: Sequence[str], filters: Sequence[tuple[str, str]]) -> Rule:
    """
    A rule from a request, checked by itself.

    @param filters: C{prefix} and C{suffix}, in any case, with their values.
    @raise BadRequest: if it is none.
    @raise NotSupported: for events that do not happen here.
    """
    if len(id) > _MOST_ID:
        raise BadRequest(f"The ID of a notification configuration must not have more than {_MOST_ID} characters")
    destination_of(kind, arn)
    for event in events:
        if event in _ELSEWHERE:
            raise NotSupported(f"The event {event} never happens here")
        if event not in _KNOWN:
            raise BadRequest(f"The event '{event[:100]}' is not supported for notifications")
    if not events:
        raise BadRequest("A notification configuration needs an event")
    values: dict[str, str] = {}
    for name, value in filters:
        word = name.lower()
        if word not in ("prefix", "suffix"):
            raise BadRequest("filter rule name must be either prefix or suffix")
        if word in values:
            raise BadRequest(f"Cannot specify more than one {word} rule in a filter.")
        if len(value.encode("utf-8", "surrogatepass")) > _MOST_VALUE:
            raise BadRequest(f"Size of filter rule value cannot exceed {_MOST_VALUE} bytes in UTF-8 representation")
        values[word] = value
    # Each once: every change is compared with them.
    return Rule(id, kind, arn, tuple(dict.fromkeys(events)), values.get("prefix", ""), values.get("suffix", ""))


#: Each event that a rule can name, with the events that it stands for.
_KNOWN = {
    **{f"s3:{what}:*": frozenset(f"{what}:{how}" for how in hows) for what, hows in EVENTS.items()},
    **{f"s3:{what}:{how}": frozenset({f"{what}:{how}"}) for what, hows in EVENTS.items() for how in hows},
}


def check_rules(rules: Sequence[Rule], destinations: Collection[str]) -> None:
    """
    Check rules together.

    @param destinations: the names of all destinations.
    @raise BadRequest: if two match the same event of the same key, or one names an unknown destination.
    """
    if len(rules) > MOST_RULES:
        raise BadRequest(f"A bucket has at most {MOST_RULES} notification configurations")
    if len({rule.id for rule in rules}) < len(rules):
        raise BadRequest("Same ID used for multiple configurations. IDs must be unique")
    for rule in rules:
        if rule.destination not in destinations:
            raise BadRequest(
                f"Unable to validate the following destination configurations: there is no destination {rule.destination!r}"
            )
    events = [frozenset[str]().union(*(_KNOWN[event] for event in rule.events)) for rule in rules]
    for (one, its), (other, others) in combinations(zip(rules, events, strict=True), 2):
        if its & others and _overlap(one.prefix, other.prefix) and _overlap(one.suffix[::-1], other.suffix[::-1]):
            raise BadRequest(
                "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes are "
                "overlapping for the same event type."
            )


def _overlap(one: str, other: str) -> bool:
    """Whether something can begin with both."""
    return one.startswith(other) or other.startswith(one)


# -- as they are kept ------------------------------------------------------------------------------


def encode_rules(rules: Iterable[Rule]) -> bytes:
    """The configuration of a bucket (docs/formats/events.md)."""
    return json.dumps(
        {"version": 1, "rules": [attrs.asdict(rule) for rule in rules]}, ensure_ascii=False, separators=(",", ":")
    ).encode("utf-8", "surrogatepass")


def decode_rules(data: bytes) -> tuple[Rule, ...]:
    """
    What L{encode_rules} made.

    @raise Damaged: if it is anything else.
    """
    try:
        document = json.loads(data.decode("utf-8", "surrogatepass"))
        if document["version"] != 1:
            raise ValueError("of another version")
        return tuple(
            make_rule(
                _text(each["id"]),
                _text(each["kind"]),
                _text(each["arn"]),
                [_text(event) for event in each["events"]],
                [("prefix", _text(each["prefix"])), ("suffix", _text(each["suffix"]))],
            )
            for each in document["rules"]
        )
    except (ValueError, KeyError, TypeError, RecursionError, BadRequest) as error:
        raise Damaged(f"the notification configuration of a bucket cannot be read: {error}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is missing")
    return value
