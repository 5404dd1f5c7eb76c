"""HTML of elements. Every text is escaped but what is Markup already, so that nothing from data becomes markup."""

from __future__ import annotations

import html
import json

EMPTY = ("input", "meta", "img", "source", "br")  # have no end


class Markup(str):
    """Text that is HTML already."""


def text_of(*children: str | None) -> Markup:
    """Their markup, one after the other; None is left out."""
    return Markup("".join(c if isinstance(c, Markup) else html.escape(c) for c in children if c is not None))


def element(kind: str, /, *children: str | None, **attributes: str | bool | None) -> Markup:
    """class_ and aria_label become class and aria-label; True is an attribute without a value, None and False none."""
    written = ""
    for key, value in attributes.items():
        attribute = key.strip("_").replace("_", "-")
        if value is True:
            written += f" {attribute}"
        elif value not in (None, False):
            written += f' {attribute}="{html.escape(str(value))}"'
    if kind in EMPTY:
        return Markup(f"<{kind}{written}>")
    return Markup(f"<{kind}{written}>{text_of(*children)}</{kind}>")


def json_block(name: str, value) -> Markup:
    """A script element that holds data. No "<" is left in it, so that it ends where it should."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return Markup(f'<script type="application/json" id="{name}">{text}</script>')


def section(name: str, title: str, *children: str | None) -> Markup:
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, *children, id=name, aria_labelledby=f"{name}-title")


def table(caption: str, head: list[str], rows: list[list[str]], *, figures: int = 0, class_: str = "") -> Markup:
    """The first column heads its row; the last `figures` columns are numbers. Wide ones scroll by themselves."""
    number = [at >= len(head) - figures for at in range(len(head))]
    top = [element("th", title, scope="col", class_="number" if n else None) for title, n in zip(head, number, strict=True)]
    body = []
    for first, *rest in rows:
        cells = [element("td", cell, class_="number" if n else None) for cell, n in zip(rest, number[1:], strict=True)]
        body.append(element("tr", element("th", first, scope="row"), *cells))
    parts = (element("thead", element("tr", *top)), element("tbody", *body))
    inner = element("table", element("caption", element("span", caption)), *parts, class_=class_ or None)
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def details(summary: str, *children: str) -> Markup:
    return element("details", element("summary", summary), *children)
