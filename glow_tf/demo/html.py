"""HTML with embedded pictures, so that they appear together with the text."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image


def shown_width(image_width: int, room: int) -> int:
    """Returns the display width of an image: enlarged by an integer factor, for equal pixels, or shrunk to fit."""
    return image_width * (room // image_width) if image_width <= room else room


def source(image: np.ndarray) -> str:
    """Encodes a picture [H, W, C] uint8 as a data URL of a PNG."""
    file = io.BytesIO()
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    # The fastest compression, as the browser is usually on the same machine.
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def picture(image: np.ndarray, room: int, alt: str) -> str:
    """Returns an `img` for a picture [H, W, C] uint8, at most `room` pixels wide, with sharp pixels if enlarged."""
    height, width, _ = image.shape
    shown = shown_width(width, room)
    sharp = ' class="sharp"' if shown >= width else ""
    # Without decoding="sync", browsers can flicker between two pictures.
    return (
        f'<img{sharp} src="{source(image)}" width="{shown}" height="{round(shown * height / width)}" '
        f'alt="{html.escape(alt)}" decoding="sync" draggable="false">'
    )


def grid(images: np.ndarray, columns: int, room: int, alt: str, kind: str = "grid") -> str:
    """Arranges images [N, H, W, C] uint8 in rows of `columns`, about `room` pixels wide in total."""
    tiles = "".join(picture(image, room // columns, f"{alt} {i}") for i, image in enumerate(images, 1))
    width = shown_width(images.shape[2], room // columns)
    return f'<div class="{kind}" style="grid-template-columns: repeat({columns}, minmax(0, {width}px))">{tiles}</div>'


def figures(images: Sequence[np.ndarray], captions: Sequence[str], room: int) -> str:
    """Arranges pictures side by side with a caption below each."""
    inside = "".join(
        f"<figure>{picture(image, room, caption)}<figcaption>{html.escape(caption)}</figcaption></figure>"
        for image, caption in zip(images, captions, strict=True)
    )
    return f'<div class="figures">{inside}</div>'


def choices(images: Sequence[np.ndarray], chosen: int | None, room: int) -> str:
    """Shows pictures as buttons with the attribute `data-index`; one may be marked as chosen."""
    buttons = "".join(
        f'<button type="button" data-index="{i}" aria-pressed="{str(i == chosen).lower()}" '
        f'aria-label="Example {i + 1}">{picture(image, room, "")}</button>'
        for i, image in enumerate(images)
    )
    return f'<div class="choices">{buttons}</div>'


def facts(values: Sequence[tuple[str, str]]) -> str:
    """Shows prominent figures, each with its name below."""
    inside = "".join(
        f"<div><b>{html.escape(value)}</b><span>{html.escape(meaning)}</span></div>" for value, meaning in values
    )
    return f'<div class="facts">{inside}</div>'


def note(text: str) -> str:
    """Shows a sentence about an error; nothing if it is empty."""
    return f'<p class="note" role="alert">{html.escape(text)}</p>' if text else ""


def hint(text: str) -> str:
    """Shows an unobtrusive sentence."""
    return f'<p class="hint">{text}</p>'
