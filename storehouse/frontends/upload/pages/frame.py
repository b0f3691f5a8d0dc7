"""What all pages have: head, navigation, and the header fields that keep them safe."""

from __future__ import annotations

from storehouse.frontends.http.reply import Reply
from storehouse.frontends.upload.assets import load_assets
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.pages.markup import Child, Markup, document, element, joined

__all__ = ["HTML", "POLICY", "icon", "page", "token_field"]

HTML = b"text/html; charset=utf-8"

#: Nothing comes from elsewhere, nothing inline is run, and nobody frames us (CSP level 3).
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; worker-src 'self'"
)

#: The other fields that browsers need are the door's own.
_HEADERS = (
    (b"Content-Security-Policy", POLICY),
    # Not "no-referrer": browsers would then send "Origin: null" with our own forms.
    (b"Referrer-Policy", b"same-origin"),
    (b"Cache-Control", b"no-store"),
)

_PLACES = (("/upload", "Upload"), ("/download", "Files"), ("/stats", "Stats"))


def page(
    title: str,
    *content: Child,
    visitor: Visitor | None = None,
    place: str = "",
    script: str = "",
    status: int = 200,
    is_narrow: bool = False,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Reply:
    """
    A whole page.

    @param visitor: who looks at it; C{None} for nobody who is known.
    @param place: the path of the place in the navigation where this is.
    @param script: the name of its script's source, such as C{upload.js}.
    @param is_narrow: whether it is one small box, as for signing in.
    """
    assets = load_assets()
    token = visitor.session.token if visitor is not None and visitor.session is not None else None
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="csrf", content=token) if token is not None else None,
        element("title", f"{title} · storehouse"),
        element("link", rel="icon", href=assets.url("icon.svg"), type="image/svg+xml"),
        element("link", rel="stylesheet", href=assets.url("style.css")),
        element("script", src=assets.url(script), type="module") if script else None,
    )
    body = element(
        "body",
        element("a", "Skip to content", href="#content", class_="skip"),
        _banner(visitor, place, token),
        element("main", *content, id="content", tabindex="-1", class_="narrow" if is_narrow else None),
    )
    return Reply(status, document(element("html", head, body, lang="en")), HTML, (*_HEADERS, *headers))


def token_field(visitor: Visitor | None) -> Markup | None:
    """The field of a form that says that it is ours; to be its first."""
    if visitor is None or visitor.session is None:
        return None
    return element("input", type="hidden", name="csrf", value=visitor.session.token)


def icon(name: str) -> Markup:
    """A picture that says nothing that its button does not; the style sheet has its shape."""
    return element("span", class_=f"icon icon-{name}", aria_hidden="true")


def _banner(visitor: Visitor | None, place: str, token: str | None) -> Markup:
    places: Child = None
    if visitor is not None and visitor.user is not None:
        places = element(
            "nav",
            [element("a", text, href=path, aria_current="page" if path == place else None) for path, text in _PLACES],
            aria_label="Main",
        )
    who: Child = None
    if visitor is not None and visitor.user is not None and token is not None:
        who = element(
            "form",
            token_field(visitor),
            element("span", visitor.user.name, class_="who", title="Signed in as this user"),
            element("button", "Sign out", class_="quiet"),
            method="post",
            action="/sign-out",
            class_="account",
        )
    wordmark = element("a", element("span", class_="mark", aria_hidden="true"), "storehouse", href="/", class_="home")
    return element("header", joined(wordmark, places, who), class_="banner")
