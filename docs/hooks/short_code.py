"""Keeps flags and names, which browsers break after hyphens, on one line; long commands may still be broken."""

import re

_SHORT = re.compile(r"<code>([^<\n]{1,36})</code>")


def on_page_content(content: str, **_) -> str:
    """Marks short inline code; called by MkDocs."""
    return _SHORT.sub(r'<code class="short">\1</code>', content)
