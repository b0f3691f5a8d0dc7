"""C{/sign-in}: by access key, or by a link that works once."""

from __future__ import annotations

from urllib.parse import quote

from storehouse.frontends.http.reply import Reply
from storehouse.frontends.upload.pages.frame import page
from storehouse.frontends.upload.pages.markup import Child, element

__all__ = ["sign_in", "sign_in_token"]


def sign_in(next_path: str = "/upload", problem: str = "", key_id: str = "", status: int = 200) -> Reply:
    """
    The form: fields C{key_id}, C{secret} and C{next}.

    @param next_path: the path where to go then.
    @param problem: why the last try was refused.
    @param key_id: what was given then.
    """
    warning: Child = None
    if problem:
        warning = element("p", problem, class_="notice bad", role="alert", id="problem")
    described = "problem" if problem else None
    return page(
        "Sign in",
        element("h1", "Sign in"),
        warning,
        element(
            "form",
            element("input", type="hidden", name="next", value=next_path),
            element("label", "Key ID", for_="key_id"),
            element(
                "input",
                id="key_id",
                name="key_id",
                value=key_id or None,
                autocomplete="username",
                autocapitalize="none",
                spellcheck="false",
                required=True,
                autofocus=True,
                aria_describedby=described,
            ),
            element("label", "Secret", for_="secret"),
            element(
                "input",
                id="secret",
                name="secret",
                type="password",
                autocomplete="current-password",
                required=True,
                aria_describedby=described,
            ),
            element("button", "Sign in", class_="primary wide"),
            method="post",
            action="/sign-in",
            class_="stack",
        ),
        element(
            "p",
            "Your access key was printed by ",
            element("code", "storehouse user add"),
            ". An administrator can create a new one with ",
            element("code", "storehouse user rotate"),
            ".",
            class_="hint",
        ),
        status=status,
        is_narrow=True,
    )


def sign_in_token(token: str) -> Reply:
    """
    What is at a link that signs in once: a button, since programs that look at links before people do must not use it up.

    @param token: the last part of its path.
    """
    return page(
        "Sign in",
        element("h1", "Sign in"),
        element("p", "This link signs you in. It works once."),
        element(
            "form",
            element("button", "Sign in", class_="primary wide", autofocus=True),
            method="post",
            action=f"/sign-in/{quote(token, safe='')}",
            class_="stack",
        ),
        is_narrow=True,
    )
