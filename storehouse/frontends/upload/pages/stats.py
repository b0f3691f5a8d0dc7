"""C{/stats}: transfers. The figures and tables are in the page; its script adds charts, and updates everything."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from storehouse.frontends.http.reply import Reply
from storehouse.frontends.upload.gate import Visitor
from storehouse.frontends.upload.pages.frame import page
from storehouse.frontends.upload.pages.markup import Child, Markup, element
from storehouse.frontends.upload.pages.words import day_and_time, machine_time, size_of

__all__ = ["Figure", "StatsPage", "TransferRow", "stats"]


@attrs.frozen
class Figure:
    """
    Something that can be said in one number.

    @ivar label: what it is, in a word or two.
    @ivar value: the number, with its unit.
    @ivar note: what it is of, or means, in a few words.
    @ivar used: how much of a bound it is, from 0 to 1; C{None} if it has none.
    """

    label: str
    value: str
    note: str = ""
    used: float | None = None


@attrs.frozen
class TransferRow:
    """
    An upload that is done, or runs.

    @ivar rate: bytes a second.
    @ivar kind: by which way it came: C{form}, C{put}, C{tus}, C{ietf} or C{download}.
    @ivar when: when it ended, or began; seconds since 1970 UTC.
    """

    name: str
    size: int
    rate: float
    user: str
    kind: str
    when: float


@attrs.frozen
class StatsPage:
    """
    What the page shows.

    @ivar running: transfers under way.
    @ivar recent: uploads that are done, the latest first.
    """

    figures: Sequence[Figure]
    running: Sequence[TransferRow]
    recent: Sequence[TransferRow]


def stats(visitor: Visitor, what: StatsPage) -> Reply:
    """The page C{/stats}, whole."""
    return page(
        "Stats",
        element("div", element("h1", "Stats"), element("p", id="fresh", class_="hint"), class_="title"),
        element(
            "section",
            element("h2", "Now", class_="unseen"),
            element("dl", [_figure(figure) for figure in what.figures], class_="figures"),
            id="figures",
        ),
        element("div", id="app"),
        element(
            "section",
            element("h2", "In progress"),
            _table("Transfers in progress", "Began", what.running, "No transfers."),
            id="running",
        ),
        element(
            "section",
            element("h2", "Recent uploads"),
            _table("Recent uploads", "Stored", what.recent, "No uploads since the start."),
            id="recent",
        ),
        element(
            "p",
            "For programs: ",
            element("a", "JSON", href="/stats?format=json"),
            " and ",
            element("a", "metrics for Prometheus", href="/metrics"),
            ".",
            class_="hint",
        ),
        visitor=visitor,
        place="/stats",
        script="stats.js",
    )


def _figure(figure: Figure) -> Markup:
    meter: Child = None
    if figure.used is not None:
        used = min(1.0, max(0.0, figure.used))
        meter = element(
            "meter", min=0, max=1, low="0.75", high="0.9", optimum=0, value=f"{used:.3f}", aria_label=figure.label
        )
    return element(
        "div",
        element("dt", figure.label),
        element("dd", figure.value, class_="value"),
        element("dd", meter, figure.note, class_="note") if figure.note or meter else None,
    )


def _table(caption: str, when: str, rows: Sequence[TransferRow], nothing: str) -> Markup:
    if not rows:
        return element("p", nothing, class_="hint")
    headings = (("Name", "name"), ("Size", "size"), ("Rate", "size"), ("By", "by"), ("Way", "by"), (when, "created"))
    return element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", element("tr", [element("th", text, scope="col", class_=kind) for text, kind in headings])),
        element("tbody", [_row(row) for row in rows]),
        class_="list",
    )


def _row(row: TransferRow) -> Markup:
    return element(
        "tr",
        element("th", element("span", row.name or "—", class_="name"), scope="row"),
        element("td", size_of(row.size), class_="number"),
        element("td", f"{size_of(int(row.rate))}/s", class_="number"),
        element("td", row.user or "—", class_="by"),
        element("td", row.kind, class_="by"),
        element("td", element("time", day_and_time(row.when), datetime=machine_time(row.when)), class_="when"),
    )
