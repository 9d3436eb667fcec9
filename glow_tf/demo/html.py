"""Pictures as HTML that holds them, so that a new picture is there the moment its text is."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image


def shown_width(image_width: int, room: int) -> int:
    """The width to show an image at: enlarged by a whole factor, so that its pixels stay equal, or shrunk to fit."""
    return image_width * (room // image_width) if image_width <= room else room


def source(image: np.ndarray) -> str:
    """The address of a picture [H, W, C] uint8 that is itself the picture, a PNG."""
    file = io.BytesIO()
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    # The quickest compression: the way to the browser is short.
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def picture(image: np.ndarray, room: int, alt: str) -> str:
    """An `img` of a picture [H, W, C] uint8, at most `room` pixels wide; its pixels are sharp where enlarged."""
    height, width, _ = image.shape
    shown = shown_width(width, room)
    sharp = ' class="sharp"' if shown >= width else ""
    # Without decoding="sync" the browser may show an empty frame between two pictures.
    return (
        f'<img{sharp} src="{source(image)}" width="{shown}" height="{round(shown * height / width)}" '
        f'alt="{html.escape(alt)}" decoding="sync" draggable="false">'
    )


def grid(images: np.ndarray, columns: int, room: int, alt: str, kind: str = "grid") -> str:
    """Images [N, H, W, C] uint8 in rows of `columns`, all together about `room` pixels wide."""
    tiles = "".join(picture(image, room // columns, f"{alt} {i}") for i, image in enumerate(images, 1))
    width = shown_width(images.shape[2], room // columns)
    return f'<div class="{kind}" style="grid-template-columns: repeat({columns}, minmax(0, {width}px))">{tiles}</div>'


def figures(images: Sequence[np.ndarray], captions: Sequence[str], room: int) -> str:
    """Pictures beside each other with a line below each."""
    inside = "".join(
        f"<figure>{picture(image, room, caption)}<figcaption>{html.escape(caption)}</figcaption></figure>"
        for image, caption in zip(images, captions, strict=True)
    )
    return f'<div class="figures">{inside}</div>'


def choices(images: Sequence[np.ndarray], chosen: int | None, room: int) -> str:
    """Pictures as buttons, one of which may be the chosen one; `data-index` says which a button is."""
    buttons = "".join(
        f'<button type="button" data-index="{i}" aria-pressed="{str(i == chosen).lower()}" '
        f'aria-label="Example {i + 1}">{picture(image, room, "")}</button>'
        for i, image in enumerate(images)
    )
    return f'<div class="choices">{buttons}</div>'


def facts(values: Sequence[tuple[str, str]]) -> str:
    """Figures that stand out, each with what it is below it."""
    inside = "".join(
        f"<div><b>{html.escape(value)}</b><span>{html.escape(meaning)}</span></div>" for value, meaning in values
    )
    return f'<div class="facts">{inside}</div>'


def note(text: str) -> str:
    """A sentence about something that went wrong; nothing for an empty one."""
    return f'<p class="note" role="alert">{html.escape(text)}</p>' if text else ""


def hint(text: str) -> str:
    """A quiet sentence."""
    return f'<p class="hint">{text}</p>'
