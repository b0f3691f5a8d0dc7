"""A gate for tests: it lets in whom the test says, and writes down what was asked."""

from __future__ import annotations

from typing import Any

from storehouse.errors import ForgedRequest, LinkUsed, NotSignedIn
from storehouse.frontends.upload.gate import Visitor
from storehouse.storage.accounts.interfaces import Grant, Session, User
from storehouse.storage.objects.interfaces import Condition

__all__ = ["ANN", "OpenGate"]

ANN = User("ann", "KEY", False, False, 0.0, 0.0)


class OpenGate:
    """
    Lets the visitor in.

    @ivar visitor: who comes; C{None} for somebody who is nobody.
    @ivar asked: C{(action, bucket)} of each request.
    @ivar public: buckets that anybody may read.
    @ivar used: the links that were used up.
    """

    def __init__(self) -> None:
        self.visitor: Visitor | None = Visitor(ANN, "key")
        self.asked: list[tuple[str, str]] = []
        self.public: set[str] = set()
        self.used: list[Grant] = []

    def with_link(self, once: bool = True) -> None:
        """The visitor has a link."""
        self.visitor = Visitor(None, "link", grant=Grant("GET", "/", True, 0, None, once, "n", "ann"))

    def with_session(self) -> None:
        """The visitor is signed in, with the token C{token}."""
        self.visitor = Visitor(ANN, "session", Session(ANN, 0.0, "cookie", "token"))

    async def admit(
        self,
        request: Any,
        action: str,
        path: str | None = None,
        bucket: str = "",
        token_later: bool = False,
        goes_on: bool = False,
        key: str = "",
    ) -> Visitor:
        self.asked.append((action, bucket))
        if self.visitor is not None:
            return self.visitor
        if action in ("get", "list") and (bucket or "uploads") in self.public:
            return Visitor(None, "public")
        raise NotSignedIn("sign in")

    def check_token(self, visitor: Visitor, text: str) -> None:
        if visitor.session is not None and visitor.session.token != text:
            raise ForgedRequest("the token is wrong")

    async def put_condition(self, visitor: Visitor, key: str, condition: Condition) -> Condition:
        return condition

    async def use(self, visitor: Visitor) -> None:
        if visitor.grant is not None:
            if visitor.grant.once and visitor.grant in self.used:
                raise LinkUsed("the link was used")
            self.used.append(visitor.grant)
