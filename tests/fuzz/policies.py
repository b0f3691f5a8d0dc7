"""
Feeds bytes to L{storehouse.frontends.s3.access.policy}: whatever they are, they are a policy, or are refused as S3 says it; and what
a policy says of a request is said in a bounded time.

As a program it does so with atheris until it finds a failure that is not meant, or the end of its time;
C{python -m tests.fuzz.policies SECONDS DIRECTORY}.
"""

from __future__ import annotations

import json
import time

from storehouse.frontends.s3.access import conditions, policy
from storehouse.frontends.s3.access.actions import ACTIONS
from storehouse.frontends.s3.access.policy import Principal, read_policy
from storehouse.frontends.s3.errors import S3Error
from storehouse.storage.accounts.interfaces import canonical_id
from tests.fuzz.running import run_fuzzer

__all__ = ["SEEDS", "try_bytes"]

_ANN = Principal("ann", canonical_id("ann"))


def _seed(**more: object) -> bytes:
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::box/*",
        **more,
    }
    return b"\0" + json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":")).encode()


#: What a fuzzer may begin with: a byte that says which request is asked about, and the policy.
SEEDS = [
    _seed(),
    _seed(Effect="Deny", Principal={"AWS": "arn:aws:iam:::user/ann"}, Action=["s3:Get*", "s3:?utObject"]),
    _seed(Resource=["arn:aws:s3:::box/${aws:username}/*", "arn:aws:s3:::box/a?*"]),
    _seed(Condition={"StringLike": {"aws:UserAgent": ["*a?*", "${aws:username, 'x'}"]}, "Null": {"s3:prefix": "true"}}),
    _seed(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}, "NumericLessThanIfExists": {"s3:max-keys": 10}}),
    _seed(
        Condition={
            "ForAllValues:StringNotEquals": {"aws:TagKeys": ["a"]},
            "DateLessThan": {"aws:CurrentTime": "2026-12-01T00:00:00Z"},
        }
    ),
]

_VALUES = {
    "aws:username": ["ann"],
    "aws:useragent": ["aba" * 100],
    "aws:sourceip": ["10.1.2.3"],
    "s3:max-keys": ["7"],
    "aws:tagkeys": ["a", "b"],
    "aws:currenttime": ["2026-11-30T00:00:00Z"],
}


def try_bytes(data: bytes) -> None:
    """@raise AssertionError: if they do something else."""
    if not data:
        return
    try:
        policy = read_policy(data[1:], "box")
    except S3Error as error:
        if error.code not in ("MalformedPolicy", "InvalidArgument"):
            raise AssertionError(f"it is refused as {error.code}") from None
        return
    action = sorted(ACTIONS)[data[0] % len(ACTIONS)]
    began = time.process_time()
    said = policy.verdict(_ANN, action, "arn:aws:s3:::box/ann/" + "ab" * 100, _VALUES.get)
    if said not in ("allow", "deny", None) or time.process_time() - began > 1:
        raise AssertionError(f"it says {said} after {time.process_time() - began} seconds")
    if read_policy(policy.data, "box").is_public != policy.is_public:
        raise AssertionError("it is read in two ways")


if __name__ == "__main__":
    run_fuzzer(
        try_bytes, [(policy, ("_statement", "_principals", "_conditions")), (conditions, ("text_tokens",))], 4096
    )
