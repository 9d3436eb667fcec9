"""Keeps flags and names together, which browsers break after each hyphen; long commands may be broken."""

import re

_SHORT = re.compile(r"<code>([^<\n]{1,36})</code>")


def on_page_content(content: str, **_) -> str:
    """Marks short code within text; called by MkDocs."""
    return _SHORT.sub(r'<code class="short">\1</code>', content)
