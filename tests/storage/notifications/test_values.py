"""Tests of L{storehouse.storage.notifications.values}."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from storehouse.errors import BadRequest, Damaged, NotSupported
from storehouse.storage.notifications.values import (
    EVENTS,
    Change,
    Rule,
    check_rules,
    decode_rules,
    destination_of,
    encode_rules,
    make_rule,
    matching,
)

ARN = "arn:storehouse:sqs:us-east-1::hooks"


def rule(*events: str, id: str = "a", prefix: str = "", suffix: str = "", arn: str = ARN) -> Rule:
    """A rule."""
    filters = [("Prefix", prefix), ("Suffix", suffix)]
    return make_rule(id, "Queue", arn, events or ("s3:ObjectCreated:*",), filters)


class RuleTests(SynchronousTestCase):
    """One rule."""

    def refused(
        self,
        text: str,
        *events: str,
        kind: str = "Queue",
        arn: str = ARN,
        id: str = "a",
        filters: Sequence[tuple[str, str]] = (),
    ) -> None:
        error = self.assertRaises(BadRequest, make_rule, id, kind, arn, events or ("s3:ObjectCreated:*",), filters)
        self.assertIn(text, error.detail)

    def test_matches(self) -> None:
        for events, name, is_meant in (
            (["s3:ObjectCreated:*"], "ObjectCreated:Copy", True),
            (["s3:ObjectCreated:Put"], "ObjectCreated:Copy", False),
            (["s3:ObjectCreated:Put", "s3:ObjectCreated:Copy"], "ObjectCreated:Copy", True),
            (["s3:ObjectRemoved:Delete"], "ObjectRemoved:DeleteMarkerCreated", False),
            (["s3:ObjectRemoved:*"], "ObjectRemoved:DeleteMarkerCreated", True),
            (["s3:ObjectTagging:*"], "ObjectTagging:Delete", True),
        ):
            self.assertEqual(rule(*events).matches(name, "k"), is_meant, (events, name))

    def test_filter(self) -> None:
        found = rule(prefix="images/", suffix=".jpg")
        for key, is_meant in (("images/a.jpg", True), ("images/a.png", False), ("a.jpg", False), ("images/.jpg", True)):
            self.assertEqual(found.matches("ObjectCreated:Put", key), is_meant, key)
            change = Change("ObjectCreated:Put", "box", key, "id")
            self.assertEqual(matching([found], change), found if is_meant else None)

    def test_destination(self) -> None:
        self.assertEqual(destination_of("Queue", "arn:storehouse:sqs:us-east-1::hooks"), "hooks")
        self.assertEqual(destination_of("Topic", "arn:storehouse:sns:::a.b-c_d"), "a.b-c_d")
        self.assertEqual(destination_of("CloudFunction", "arn:storehouse:lambda:x:123:f"), "f")

    def test_refused(self) -> None:
        self.refused("could not be parsed", arn="arn:aws:sqs:us-east-1:1:hooks")
        self.refused("could not be parsed", arn="arn:storehouse:sns:us-east-1::hooks")
        self.refused("could not be parsed", arn=f"{ARN}\n")
        self.refused("could not be parsed", kind="Stack")
        self.refused("is not supported for notifications", "s3:ObjectCreated")
        self.refused("is not supported for notifications", "s3:ObjectEaten:*")
        self.refused("must be either prefix or suffix", filters=[("infix", "a")])
        self.refused("more than one prefix rule", filters=[("prefix", "a"), ("Prefix", "b")])
        self.refused("cannot exceed 1024 bytes", filters=[("prefix", "\u00e4" * 513)])
        self.refused("255 characters", id="a" * 256)
        self.assertRaises(BadRequest, make_rule, "a", "Queue", ARN, (), ())
        self.assertRaises(NotSupported, make_rule, "a", "Queue", ARN, ("s3:Replication:*",), ())

    def test_each_once(self) -> None:
        found = rule(*["s3:ObjectCreated:Put"] * 10_000, "s3:ObjectCreated:Copy")
        self.assertEqual(found.events, ("s3:ObjectCreated:Put", "s3:ObjectCreated:Copy"))

    def test_all_events(self) -> None:
        for what, hows in EVENTS.items():
            for how in (*hows, "*"):
                rule(f"s3:{what}:{how}")


class RulesTests(SynchronousTestCase):
    """Those of a bucket."""

    def refused(self, text: str, *rules: Rule) -> None:
        self.assertIn(text, self.assertRaises(BadRequest, check_rules, rules, ["hooks"]).detail)

    def test_together(self) -> None:
        created, removed = rule(), rule("s3:ObjectRemoved:*", id="b")
        check_rules([created, removed], ["hooks"])
        check_rules([rule(prefix="a"), rule(id="b", prefix="b")], ["hooks"])
        check_rules([rule(suffix=".jpg"), rule(id="b", suffix=".png")], ["hooks"])
        check_rules([rule("s3:ObjectCreated:Put"), rule("s3:ObjectCreated:Copy", id="b")], ["hooks"])

    def test_refused(self) -> None:
        overlapping = "ambiguously defined"
        self.refused(overlapping, rule(), rule("s3:ObjectCreated:Put", id="b"))
        self.refused(overlapping, rule(prefix="a/"), rule(id="b", prefix="a/b"))
        self.refused(overlapping, rule(prefix="a/"), rule(id="b", suffix=".jpg"))
        self.refused(overlapping, rule(suffix=".jpg"), rule(id="b", suffix="a.jpg"))
        self.refused("IDs must be unique", rule(), rule("s3:ObjectRemoved:*"))
        self.refused("there is no destination 'else'", rule(arn="arn:storehouse:sqs:::else"))
        self.refused("at most 100", *(rule(id=str(each), prefix=f"{each:03}") for each in range(101)))

    def test_kept(self) -> None:
        """The golden bytes."""
        rules = (rule(prefix="\u00e4"), rule("s3:ObjectRemoved:Delete", id="b"))
        data = encode_rules(rules)
        self.assertEqual(
            data.decode(),
            '{"version":1,"rules":[{"id":"a","kind":"Queue","arn":"arn:storehouse:sqs:us-east-1::hooks",'
            '"events":["s3:ObjectCreated:*"],"prefix":"\u00e4","suffix":""},{"id":"b","kind":"Queue",'
            '"arn":"arn:storehouse:sqs:us-east-1::hooks","events":["s3:ObjectRemoved:Delete"],"prefix":"","suffix":""}]}',
        )
        self.assertEqual(decode_rules(data), rules)
        self.assertEqual(decode_rules(encode_rules(())), ())

    @given(
        st.binary(max_size=100)
        | st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["version", "rules", "id", "events"]), inner)
            ),
            max_leaves=8,
        ).map(lambda found: json.dumps(found).encode())
    )
    def test_anything(self, data: bytes) -> None:
        """Whatever is kept, it is rules or damaged."""
        try:
            found = decode_rules(data)
        except Damaged:
            return
        self.assertEqual(decode_rules(encode_rules(found)), found)
