"""Preserves the layout of the mathematics in docstrings, which is written in ASCII and aligned with spaces."""

import re

import griffe

_SECTION = re.compile(r"^(Args|Attributes|Examples|Raises|Returns|Yields):$", re.MULTILINE)
_CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_MATHEMATICS = re.compile(r"(  |(forward|inverse)( log-det)?: )")


class Mathematics(griffe.Extension):
    """Turns the paragraphs of a docstring that are indented, or begin like `forward:`, into code blocks."""

    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            text = obj.docstring.value
            section = _SECTION.search(text)
            end = section.start() if section else len(text)
            parts = _CODE.split(text[:end])
            parts[::2] = map(_with_blocks, parts[::2])
            obj.docstring.value = "".join(parts) + text[end:]


def _with_blocks(text: str) -> str:
    """Turns paragraphs of mathematics into code blocks."""
    return "\n\n".join(_block(part) if _MATHEMATICS.match(part) else part for part in text.split("\n\n"))


def _block(paragraph: str) -> str:
    return "\n".join(f"    {line}" for line in paragraph.split("\n"))
