"""Figures as SVG elements of a page."""

from __future__ import annotations

import io
import re

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from diffurecsys.reporting.narrow import narrowed
from diffurecsys.reporting.style import INK, RULE


def embed_figure(figure: Figure, label: str, *, prefix: str) -> Markup:
    """Return a figure as two SVG elements, of which the page shows the one that fits: `broad`, and `slim` for phones.

    Arguments as of `embed_svg`.
    """
    broad = embed_svg(figure, label, prefix=prefix, kind="broad")
    with narrowed(figure):
        return broad + embed_svg(figure, label, prefix=f"{prefix}-slim", kind="slim")


def embed_svg(figure: Figure, label: str, *, prefix: str, kind: str = "broad") -> Markup:
    """Return a figure as an SVG element for an HTML page, the same bytes for the same figure.

    Ink and rules take the page's CSS variables `--ink` and `--rule`, so that the figure follows its colour scheme.

    Args:
        figure: what to embed.
        label: read out by screen readers.
        prefix: of all ids, unique in the page.
        kind: class of the element.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = svg.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    svg = svg.replace(INK, "var(--ink)").replace(RULE, "var(--rule)")
    svg = re.sub(r'<svg\b([^>]*?) width="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r'<svg\b([^>]*?) height="[^"]*"', r"<svg\1", svg, count=1)
    return Markup('<svg class="{}" role="img" aria-label="{}"').format(kind, label) + Markup(svg.removeprefix("<svg"))
