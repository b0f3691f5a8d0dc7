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
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import attrs

from storehouse.frontends.s3.access.glob import ANY, ONE, Globs, tokens_of

__all__ = ["KEYS", "Condition", "Texts", "TooLong", "Values", "Variable", "read_condition", "text_tokens"]

#: Gives the values that a key has in a request, by its name in lower case; C{None} if it has none.
Values = Callable[[str], Sequence[str] | None]

# Characters of the variables of a text, with their values.
_MOST_EXPANDED = 2048

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
        "sts:rolesessionname",
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


_special = re.compile(r"[*?]|\$\{").finditer


def text_tokens(text: str, has_variables: bool) -> list[object]:
    """The literals, wildcards and variables of a text."""
    if not has_variables or "${" not in text:
        return tokens_of(text)
    tokens: list[object] = []
    literal: list[str] = []

    def end() -> None:
        if any(literal):
            tokens.append("".join(literal))
        literal.clear()

    at = 0
    for special in _special(text):
        start = special.start()
        if start < at:
            continue  # within a variable
        found = _variable(text, start) if special[0] == "${" else None
        if special[0] == "${" and found is None:
            continue  # as it is written
        literal.append(text[at:start])
        at = special.end() if found is None else found.end()
        if found is not None and found[1] in ("*", "?", "$"):
            literal.append(found[1])
            continue
        end()
        if found is not None:
            tokens.append(Variable(_folded(found[1].strip()), found[2]))
        else:
            tokens.append(ANY if special[0] == "*" else ONE)
    literal.append(text[at:])
    end()
    return tokens


class TooLong(Exception):
    """With the values of a request, a text of the policy is longer than it may be: what it says of the request is not known."""


def expand(tokens: Sequence[object], values: Values) -> list[object] | None:
    """
    The tokens with the values of their variables; C{None} if one has none.

    @raise TooLong: if the result would be.
    """
    expanded: list[object] = []
    size = 0
    for token in tokens:
        if isinstance(token, Variable):
            found = values(token.key)
            # Of several values none is the one that is meant.
            text = found[0] if found is not None and len(found) == 1 else token.default
            if text is None:
                return None
            size += len(text)
            if size > _MOST_EXPANDED:
                raise TooLong
            expanded.append(text)
        else:
            expanded.append(token)
    return expanded


class Texts:
    """
    Texts of a policy, of which one has to match.

    @param texts: the tokens of each.
    @param fold: how both sides are folded before they are compared.
    """

    def __init__(self, texts: Iterable[Sequence[object]], fold: Callable[[str], str] = str) -> None:
        self._fold = fold
        fixed, self._varying = [], []
        for tokens in texts:
            if any(isinstance(token, Variable) for token in tokens):
                self._varying.append(tokens)
            else:
                fixed.append(self._folded(tokens))
        self._fixed = Globs(fixed)

    def _folded(self, tokens: Iterable[object]) -> list[object]:
        return [self._fold(token) if isinstance(token, str) else token for token in tokens]

    def matches(self, value: str, values: Values) -> bool:
        """
        Whether a value is as one of the texts says.

        @raise TooLong: see L{expand}.
        """
        value = self._fold(value)
        if self._fixed.matches(value):
            return True
        if not self._varying:
            return False
        expanded = (expand(tokens, values) for tokens in self._varying)
        return Globs(self._folded(tokens) for tokens in expanded if tokens is not None).matches(value)


# -- one value against one of the policy's -------------------------------------------------------------------------

#: Whether a value of a request is like one of the policy's. Made once for all of these.
_Matcher = Callable[[str, Values], bool]

#: Makes it, from texts of the policy. @raise ValueError: for a text that the operator does not allow.
_Maker = Callable[[Sequence[str], bool], _Matcher]


def _strings(ignore_case: bool = False, wild: bool = False) -> _Maker:
    def make(texts: Sequence[str], has_variables: bool) -> _Matcher:
        tokens = [text_tokens(text, has_variables) for text in texts]
        if not wild:
            tokens = [[_AS_WRITTEN.get(id(token), token) for token in each] for each in tokens]
        return Texts(tokens, str.lower if ignore_case else str).matches

    return make


_AS_WRITTEN = {id(ANY): "*", id(ONE): "?"}


def _arns(texts: Sequence[str], has_variables: bool) -> _Matcher:
    """Component by component: a wildcard does not reach over a colon, but in the last one."""
    whole = [text for text in texts if "${" in text or text.count(":") < 5]
    matches_whole = _strings(wild=True)(whole, has_variables)
    others = set(texts).difference(whole)
    known = {
        part: Globs([tokens_of(part)]) for text in others for part in text.split(":", 5) if "*" in part or "?" in part
    }
    parts = [[(part, known.get(part)) for part in text.split(":", 5)] for text in others]

    def matches(value: str, values: Values) -> bool:
        if matches_whole(value, values):
            return True
        found = value.split(":", 5)
        return len(found) == 6 and any(
            all(
                part == value if globs is None else globs.matches(value)
                for (part, globs), value in zip(each, found, strict=True)
            )
            for each in parts
        )

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


def _ordered(read: Callable[[str], float | None], compare: Callable[[float, float], bool]) -> _Maker:
    def make(texts: Sequence[str], has_variables: bool) -> _Matcher:
        wanted = [read(text) for text in texts]
        numbers = [each for each in wanted if each is not None and math.isfinite(each)]
        if len(numbers) < len(texts):
            raise ValueError("a value is none")

        def matches(value: str, values: Values) -> bool:
            found = read(value)
            return found is not None and any(compare(found, each) for each in numbers)

        return matches

    return make


def _booleans(texts: Sequence[str], has_variables: bool) -> _Matcher:
    wanted = {text.strip().lower() for text in texts}
    if not wanted <= {"true", "false"}:
        raise ValueError("a value is neither true nor false")
    return lambda value, values: value.lower() in wanted


def _addresses(texts: Sequence[str], has_variables: bool) -> _Matcher:
    networks = [ip_network(text.strip(), strict=False) for text in texts]

    def matches(value: str, values: Values) -> bool:
        try:
            address = ip_address(value)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in networks)

    return matches


def _comparisons(kind: str, read: Callable[[str], float | None]) -> dict[str, tuple[_Maker, bool]]:
    return {
        f"{kind}Equals": (_ordered(read, lambda a, b: a == b), False),
        f"{kind}NotEquals": (_ordered(read, lambda a, b: a == b), True),
        f"{kind}LessThan": (_ordered(read, lambda a, b: a < b), False),
        f"{kind}LessThanEquals": (_ordered(read, lambda a, b: a <= b), False),
        f"{kind}GreaterThan": (_ordered(read, lambda a, b: a > b), False),
        f"{kind}GreaterThanEquals": (_ordered(read, lambda a, b: a >= b), False),
    }


#: Operator to what makes its matchers, and whether it negates them.
_OPERATORS: Mapping[str, tuple[_Maker, bool]] = {
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
    _matches: _Matcher

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
            return self._matches(value, values) != negates

        if self.quantifier == "any":
            return any(map(fulfils, found))
        if self.quantifier == "all" or negates:
            return all(map(fulfils, found))
        return any(map(fulfils, found))


def read_condition(operator: str, key: str, texts: Sequence[str], has_variables: bool) -> Condition:
    """
    @raise KeyError: for an operator, or a key, that there is not, naming which.
    @raise ValueError: for a value that the operator does not allow.
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
        return Condition(known, quantifier, False, folded, tuple(texts), lambda value, values: False)
    make = _OPERATORS[known][0]
    return Condition(known, quantifier, if_exists, folded, tuple(texts), make(texts, has_variables))
