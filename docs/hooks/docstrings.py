"""Shows the mathematics of docstrings, in ASCII and aligned by spaces, as it is written."""

import re

import griffe

_SECTION = re.compile(r"^(Args|Attributes|Examples|Raises|Returns|Yields):$", re.MULTILINE)
_MATHEMATICS = re.compile(r"^(  |(forward|inverse)( log-det)?: )")


class Mathematics(griffe.Extension):
    """Makes blocks of code of the paragraphs of a docstring that are indented, or begin as `forward:` does."""

    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            text = obj.docstring.value
            section = _SECTION.search(text)
            end = section.start() if section else len(text)
            obj.docstring.value = "\n\n".join(map(_shown, text[:end].split("\n\n"))) + text[end:]


def _shown(paragraph: str) -> str:
    if not _MATHEMATICS.match(paragraph):
        return paragraph
    return "\n".join(f"    {line}" for line in paragraph.split("\n"))
