"""
Condition operators of policies: what the values of a key in a request are compared with.

An operator is a name such as C{StringLike}, perhaps with C{ForAnyValue:} or C{ForAllValues:} before it and C{IfExists} behind it.
A key that a request lacks fulfils an operator that negates, one with C{IfExists}, and C{ForAllValues}; no other. Values of
C{String} and C{Arn} operators can contain variables, in policies of the version 2012-10-17.

Source: "IAM JSON policy elements: Condition operators" and "Creating a condition with multiple keys or values" of Amazon's
IAM user guide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import attrs

from storehouse.frontends.s3.access.glob import ANY, ONE, Glob

__all__ = ["KEYS", "Condition", "Values", "Variable", "expand", "read_condition", "text_tokens"]

#: Gives the values that a key has in a request, by its name in lower case; C{None} if it has none.
Values = Callable[[str], Sequence[str] | None]

# A value that is longer is no value for a variable, so that what it is put into stays bounded.
_MOST_VARIABLE = 2048

#: Keys that conditions can have, in lower case; those that end with a slash have the name of a tag behind it.
KEYS = frozenset(
    [
        "aws:currenttime",
        "aws:epochtime",
        "aws:multifactorauthage",
        "aws:multifactorauthpresent",
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalisawsservice",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:principalservicename",
        "aws:principaltag/",
        "aws:principaltype",
        "aws:referer",
        "aws:requestedregion",
        "aws:requesttag/",
        "aws:resourceaccount",
        "aws:resourceorgid",
        "aws:securetransport",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceip",
        "aws:sourceorgid",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:tagkeys",
        "aws:tokenissuetime",
        "aws:useragent",
        "aws:userid",
        "aws:username",
        "aws:viaawsservice",
        "aws:vpcsourceip",
        "s3:authtype",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
        "s3:accesspointnetworkorigin",
        "s3:delimiter",
        "s3:existingobjecttag/",
        "s3:if-match",
        "s3:if-none-match",
        "s3:locationconstraint",
        "s3:max-keys",
        "s3:object-lock-legal-hold",
        "s3:object-lock-mode",
        "s3:object-lock-remaining-retention-days",
        "s3:object-lock-retain-until-date",
        "s3:objectcreationoperation",
        "s3:prefix",
        "s3:requestobjecttag/",
        "s3:requestobjecttagkeys",
        "s3:resourceaccount",
        "s3:signatureage",
        "s3:signatureversion",
        "s3:tlsversion",
        "s3:versionid",
        "s3:x-amz-acl",
        "s3:x-amz-content-sha256",
        "s3:x-amz-copy-source",
        "s3:x-amz-grant-full-control",
        "s3:x-amz-grant-read",
        "s3:x-amz-grant-read-acp",
        "s3:x-amz-grant-write",
        "s3:x-amz-grant-write-acp",
        "s3:x-amz-metadata-directive",
        "s3:x-amz-object-ownership",
        "s3:x-amz-server-side-encryption",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
        "s3:x-amz-server-side-encryption-customer-algorithm",
        "s3:x-amz-storage-class",
        "s3:x-amz-website-redirect-location",
    ]
)


@attrs.frozen
class Variable:
    """
    A variable in a value or a resource.

    @ivar key: the key whose value it stands for, in lower case.
    @ivar default: what it stands for without one; C{None}: nothing matches then.
    """

    key: str
    default: str | None


def _folded(key: str) -> str:
    """A key in lower case; the name of a tag counts as it is written."""
    first, slash, rest = key.partition("/")
    return first.lower() + slash + rest


_variable = re.compile(r"\$\{([*?$]|[A-Za-z0-9:/._+=@ -]{1,160}?)(?:\s*,\s*'([^'{}]{0,512})')?\}").match


def text_tokens(text: str, has_variables: bool) -> list[object]:
    """The literals, wildcards and variables of a text."""
    tokens: list[object] = []
    literal: list[str] = []

    def end() -> None:
        if literal:
            tokens.append("".join(literal))
            literal.clear()

    at = 0
    while at < len(text):
        character = text[at]
        found = _variable(text, at) if has_variables and character == "$" else None
        if found is not None:
            at = found.end()
            if found[1] in ("*", "?", "$"):
                literal.append(found[1])
            else:
                end()
                tokens.append(Variable(_folded(found[1].strip()), found[2]))
            continue
        at += 1
        if character in "*?":
            end()
            tokens.append(ANY if character == "*" else ONE)
        else:
            literal.append(character)
    end()
    return tokens


def expand(tokens: Sequence[object], values: Values) -> list[object] | None:
    """The tokens with the values of their variables; C{None} if one has none."""
    expanded: list[object] = []
    for token in tokens:
        if isinstance(token, Variable):
            found = values(token.key)
            # Of several values none is the one that is meant.
            text = found[0] if found is not None and len(found) == 1 else token.default
            if text is None or len(text) > _MOST_VARIABLE:
                return None
            expanded.append(text)
        else:
            expanded.append(token)
    return expanded


# -- one value against one of the policy's -------------------------------------------------------------------------

#: Whether a value of a request is like one of the policy's. Made once for each of the latter.
_Matcher = Callable[[str, Values], bool]


def _strings(ignore_case: bool = False, wild: bool = False) -> Callable[[str, bool], _Matcher]:
    def make(text: str, has_variables: bool) -> _Matcher:
        folded = text.lower() if ignore_case and "${" not in text else text
        tokens = text_tokens(folded, has_variables)
        if not wild:
            tokens = [{ANY: "*", ONE: "?"}.get(token, token) if token in (ANY, ONE) else token for token in tokens]
        glob = None if any(isinstance(token, Variable) for token in tokens) else Glob(tokens)

        def matches(value: str, values: Values) -> bool:
            nonlocal glob
            found = glob
            if found is None:
                expanded = expand(tokens, values)
                if expanded is None:
                    return False
                if ignore_case:
                    expanded = [token.lower() if isinstance(token, str) else token for token in expanded]
                found = Glob(expanded)
            return found.matches(value.lower() if ignore_case else value)

        return matches

    return make


def _arns(text: str, has_variables: bool) -> _Matcher:
    """Component by component: a wildcard does not reach over a colon, but in the last one."""
    parts = text.split(":", 5) if "${" not in text else [text]
    if len(parts) != 6:
        return _strings(wild=True)(text, has_variables)
    matchers = [_strings(wild=True)(part, has_variables) for part in parts]

    def matches(value: str, values: Values) -> bool:
        found = value.split(":", 5)
        return len(found) == 6 and all(matcher(part, values) for matcher, part in zip(matchers, found, strict=True))

    return matches


_number = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})\Z", re.ASCII).match


def _number_of(text: str) -> float | None:
    return float(text) if _number(text.strip()) else None


_date = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?)?)?\Z", re.ASCII
).match


def _date_of(text: str) -> float | None:
    """ISO 8601 as the W3C has it, or seconds since 1970."""
    text = text.strip()
    found = _date(text)
    if found is None or (text.isdigit() and len(text) != 4):
        return _number_of(text)
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    if zone not in (None, "Z"):
        zone = zone.replace(":", "")
        offset = int(zone[:3]) * 3600 + int(zone[0] + zone[3:]) * 60
    else:
        offset = 0
    try:
        moment = datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0),
            tzinfo=UTC,
        )  # fmt: skip
    except ValueError:
        return None
    return moment.timestamp() - offset + float(f"0.{fraction or 0}")


def _ordered(
    read: Callable[[str], float | None], compare: Callable[[float, float], bool]
) -> Callable[[str, bool], _Matcher]:
    def make(text: str, has_variables: bool) -> _Matcher:
        wanted = read(text)
        if wanted is None or not math.isfinite(wanted):
            raise ValueError(text)

        def matches(value: str, values: Values) -> bool:
            found = read(value)
            return found is not None and compare(found, wanted)

        return matches

    return make


def _booleans(text: str, has_variables: bool) -> _Matcher:
    wanted = text.strip().lower()
    if wanted not in ("true", "false"):
        raise ValueError(text)
    return lambda value, values: value.lower() == wanted


def _addresses(text: str, has_variables: bool) -> _Matcher:
    network = ip_network(text.strip(), strict=False)

    def matches(value: str, values: Values) -> bool:
        try:
            address = ip_address(value)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address) in network

    return matches


def _comparisons(
    kind: str, read: Callable[[str], float | None]
) -> dict[str, tuple[Callable[[str, bool], _Matcher], bool]]:
    return {
        f"{kind}Equals": (_ordered(read, lambda a, b: a == b), False),
        f"{kind}NotEquals": (_ordered(read, lambda a, b: a == b), True),
        f"{kind}LessThan": (_ordered(read, lambda a, b: a < b), False),
        f"{kind}LessThanEquals": (_ordered(read, lambda a, b: a <= b), False),
        f"{kind}GreaterThan": (_ordered(read, lambda a, b: a > b), False),
        f"{kind}GreaterThanEquals": (_ordered(read, lambda a, b: a >= b), False),
    }


#: Operator to what makes its matchers, and whether it negates them.
_OPERATORS: Mapping[str, tuple[Callable[[str, bool], _Matcher], bool]] = {
    "StringEquals": (_strings(), False),
    "StringNotEquals": (_strings(), True),
    "StringEqualsIgnoreCase": (_strings(ignore_case=True), False),
    "StringNotEqualsIgnoreCase": (_strings(ignore_case=True), True),
    "StringLike": (_strings(wild=True), False),
    "StringNotLike": (_strings(wild=True), True),
    "ArnEquals": (_arns, False),
    "ArnNotEquals": (_arns, True),
    "ArnLike": (_arns, False),
    "ArnNotLike": (_arns, True),
    "BinaryEquals": (_strings(), False),
    **_comparisons("Numeric", _number_of),
    **_comparisons("Date", _date_of),
    "Bool": (_booleans, False),
    "IpAddress": (_addresses, False),
    "NotIpAddress": (_addresses, True),
}

_BY_LOWER = {name.lower(): name for name in (*_OPERATORS, "Null")}


@attrs.frozen(eq=False)
class Condition:
    """
    One operator with one key.

    @ivar operator: without C{ForAnyValue:}, C{ForAllValues:} and C{IfExists}.
    @ivar quantifier: C{any}, C{all} or empty.
    @ivar if_exists: whether a key that a request lacks fulfils it.
    @ivar key: in lower case.
    @ivar texts: the policy's values, as they were written.
    """

    operator: str
    quantifier: str
    if_exists: bool
    key: str
    texts: tuple[str, ...]
    _matchers: tuple[_Matcher, ...]

    @property
    def negates(self) -> bool:
        """Whether it is fulfilled by what is not like the policy's values."""
        return self.operator != "Null" and _OPERATORS[self.operator][1]

    def holds(self, values: Values) -> bool:
        """Whether a request fulfils it."""
        found = values(self.key)
        if self.operator == "Null":
            return any((text.strip().lower() == "true") == (found is None) for text in self.texts)
        negates = self.negates
        if found is None or not found:
            return self.if_exists or self.quantifier == "all" or (negates and self.quantifier == "")

        def fulfils(value: str) -> bool:
            return any(matches(value, values) for matches in self._matchers) != negates

        if self.quantifier == "any":
            return any(map(fulfils, found))
        if self.quantifier == "all" or negates:
            return all(map(fulfils, found))
        return any(map(fulfils, found))


def read_condition(operator: str, key: str, texts: Sequence[str], has_variables: bool) -> Condition:
    """
    @raise KeyError: for an operator, or a key, that there is not, naming which.
    @raise ValueError: for a value that is none for the operator.
    """
    name, quantifier = operator, ""
    for word, short in (("ForAnyValue:", "any"), ("ForAllValues:", "all")):
        if name.lower().startswith(word.lower()):
            name, quantifier = name[len(word) :], short
    if_exists = name.lower().endswith("ifexists") and name.lower() != "null"
    known = _BY_LOWER.get(name.lower().removesuffix("ifexists") if if_exists else name.lower())
    if known is None or (known == "Null" and if_exists):
        raise KeyError("operator")
    folded = _folded(key)
    first, slash, rest = folded.partition("/")
    if first + slash not in KEYS or (slash and not 0 < len(rest) <= 128):
        raise KeyError("key")
    if known == "Null":
        if any(text.strip().lower() not in ("true", "false") for text in texts):
            raise ValueError("Null")
        return Condition(known, quantifier, False, folded, tuple(texts), ())
    make = _OPERATORS[known][0]
    return Condition(
        known, quantifier, if_exists, folded, tuple(texts), tuple(make(text, has_variables) for text in texts)
    )
