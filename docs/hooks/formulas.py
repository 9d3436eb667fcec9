"""Renders the LaTeX of the docs as SVG when the site is built, so that pages need no scripts, fonts or network."""

import html
import re
from xml.etree import ElementTree

import ziamath

# Formulas as `pymdownx.arithmatex` outputs them.
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
# Font size of the formulas in pixels, and how many of these pixels make an em of the surrounding text, whose letters
# are larger than the formulas' at the same font size.
_SIZE = 16
_EM = 14.5

# Each glyph is drawn in place: glyphs shared by id would clash with those of other formulas on the page.
ziamath.config.svg2 = False


def on_page_content(content: str, **_) -> str:
    """Replaces the formulas of a page by SVG; called by MkDocs."""
    content = _INLINE.sub(lambda match: _drawing(match[1], inline=True), content)
    return _BLOCK.sub(lambda match: f'<div class="formula">{_drawing(match[1], inline=False)}</div>', content)


def _drawing(latex: str, inline: bool) -> str:
    latex = " ".join(html.unescape(latex).split())
    formula = ziamath.Latex(latex, size=_SIZE, color="currentColor", inline=inline)
    svg = formula.svgxml()
    below = float(svg.get("viewBox").split()[1]) + float(svg.get("height"))
    svg.set("style", f"vertical-align: {-below / _EM:.4f}em")
    for side in ("width", "height"):
        svg.set(side, f"{float(svg.get(side)) / _EM:.4f}em")
    svg.set("role", "img")
    svg.set("aria-label", latex)
    return ElementTree.tostring(svg, encoding="unicode")
