"""Calls of the page's functions: what the page itself sends, and nothing else.

Gradio accepts any value: the path of any file as that of an uploaded one, and values of other types, which it keeps in
memory and reports with tracebacks.
"""

import json
import re
import sys
from collections.abc import Callable, Container, Mapping
from typing import Any, NamedTuple

import gradio as gr

_SESSION = re.compile(r"[0-9A-Za-z_]{1,32}")
_MOST_INDEX = 1 << 31


class Function(NamedTuple):
    """Inputs of a function of the page, for checks of its calls.

    Attributes:
      inputs: for each input, whether a value is one of the page's; called with the value and the paths of uploads.
      selects: whether it is also passed the index of what was selected.
    """

    inputs: tuple[Callable[[Any, Container[str]], bool], ...]
    selects: bool


class Call(NamedTuple):
    """A call of a function.

    Attributes:
      body: its JSON, of known parts only.
      files: paths of the uploads it reads.
    """

    body: bytes
    files: list[str]


def functions(page: gr.Blocks) -> dict[int, Function]:
    """Returns the functions of a page by their numbers."""
    return {
        number: Function(
            tuple(_check(block) for block in function.inputs), any(event == "select" for _, event in function.targets)
        )
        for number, function in page.fns.items()
    }


def parse(body: bytes, functions: Mapping[int, Function], uploads: Container[str]) -> Call | None:
    """Parses the JSON of a call; returns None if it is not one that the page sends.

    Args:
      body: the JSON.
      functions: the functions by their numbers.
      uploads: paths of the uploaded files.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    number, values, session = (document.get(key) for key in ("fn_index", "data", "session_hash"))
    function = functions.get(number) if type(number) is int else None
    if function is None or not isinstance(session, str) or not _SESSION.fullmatch(session):
        return None
    if not isinstance(values, list) or len(values) != len(function.inputs):
        return None
    if not all(accepts(value, uploads) for accepts, value in zip(function.inputs, values, strict=True)):
        return None
    event = document.get("event_data")
    index = event.get("index") if isinstance(event, dict) else None
    if function.selects and not (type(index) is int and 0 <= index < _MOST_INDEX):
        return None
    # All objects among the values are files.
    files = [value["path"] for value in values if isinstance(value, dict)]
    passed = {
        "fn_index": number,
        "data": [_file(value["path"]) if isinstance(value, dict) else value for value in values],
        "session_hash": session,
        "event_data": {"index": index} if function.selects else None,
    }
    return Call(json.dumps(passed).encode(), files)


def _check(block: gr.components.Component) -> Callable[[Any, Container[str]], bool]:
    """Returns whether a value is one that the page sends for a component, as a function of it and the uploads."""
    if isinstance(block, gr.File):
        return lambda value, uploads: (
            isinstance(value, dict) and isinstance(value.get("path"), str) and value["path"] in uploads
        )
    if isinstance(block, gr.Slider):
        return lambda value, _: _is_number(value) and block.minimum <= value <= block.maximum
    if isinstance(block, gr.Number):
        # An empty field is None.
        return lambda value, _: value is None or _is_number(value)
    if isinstance(block, gr.Dropdown):
        # Without a choice it is None.
        possible = [block.value, *(value for _, value in block.choices)]
        return lambda value, _: any(type(value) is type(one) and value == one for one in possible)
    if isinstance(block, gr.State):
        # States stay on the server.
        return lambda value, _: value is None
    raise TypeError(f"The values of a {type(block).__name__} cannot be checked; add them here.")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _file(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}
