"""Part of the page where a picture is chosen from examples or uploaded."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import numpy as np

from glow_tf.data import DataError, images
from glow_tf.demo import html
from glow_tf.demo.events import LIVE, clip_sliders
from glow_tf.demo.examples import Example, cropping, read_picture
from glow_tf.demo.model import DemoModel

# One listener for all buttons, including those added later.
_TELL_WHICH = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-index]');
  if (button) trigger('select', {index: Number(button.dataset.index)});
});
"""
_THUMBNAIL = 48


class Picker:
    """Buttons for the examples, a file input, and the class for a conditional model.

    Attributes:
      chosen: `gr.State` of the chosen `Example`.
      first: the `Example` chosen at the start.

    Args:
      model: the model, to whose size pictures are resized.
      examples: pictures to choose from.
      first: index of the example chosen at the start.
      title: purpose of the picture.
      name: name of this picker, unique on the page; the ids of its parts begin with it.
    """

    def __init__(self, model: DemoModel, examples: Sequence[Example], first: int, title: str, name: str):
        self._model, self._examples = model, examples
        self._images = [_thumbnail(example.image) for example in examples]
        self.first = examples[first]
        gr.HTML(f"<h3>{title}</h3>")
        self._choices = gr.HTML(self._buttons(first), js_on_load=_TELL_WHICH, elem_id=f"{name}-examples")
        self._file = gr.File(
            label="Your own picture", show_label=False, height=56, elem_id=f"{name}-file", elem_classes="drop"
        )
        self._note = gr.HTML(html.note(""), elem_id=f"{name}-note")
        self._label = gr.Dropdown(
            [(f"Class {label}", label) for label in range(model.num_classes)],
            value=self.first.label,
            label="Its class",
            visible=bool(model.num_classes),
            elem_id=f"{name}-label",
        )
        self.chosen = gr.State(self.first)

    def when_chosen(self, function: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Calls `function` on the values of `inputs` whenever another picture or class is chosen."""
        parts = [self._choices, self._note, self._label, self.chosen]
        for event in (
            self._choices.select(self._pick, None, parts, **LIVE),
            # Gradio's preprocessing leaves a temporary file behind.
            self._file.upload(self._read, [self._file, self._label], [*parts, self._file], preprocess=False, **LIVE),
            self._label.input(self._relabel, [self._label, self.chosen], self.chosen, **LIVE),
        ):
            event.then(function, inputs, outputs, js=clip_sliders(inputs), **LIVE)

    def _buttons(self, chosen):
        return html.choices(self._images, chosen, _THUMBNAIL)

    def _pick(self, event: gr.EventData):
        index = min(max(int(event.index), 0), len(self._examples) - 1)
        example = self._examples[index]
        return self._buttons(index), html.note(""), example.label, example

    def _read(self, file, label):
        path = file["path"]
        # The file input is cleared for the next file.
        try:
            image = read_picture(path, self._model.image_shape, crop_from=self._model.crop_from)
        except DataError as error:
            # The message names the file without its folder.
            text = f"Sorry, {error} PNG, JPEG, GIF and WebP files of usual size can be read."
            return gr.skip(), html.note(text), gr.skip(), gr.skip(), None
        cut = cropping(path, self._model.image_shape, self._model.crop_from)
        return self._buttons(None), html.hint(cut) if cut else "", label, Example(image, label), None

    def _relabel(self, label, chosen):
        return Example(chosen.image, label)


def _thumbnail(image):
    """Shrinks a large picture to twice the size of the buttons, for high-resolution screens."""
    height, width, channels = image.shape
    factor = min(1, 2 * _THUMBNAIL / width)
    return images.fit_pixels(np.asarray(image), (max(1, round(factor * height)), round(factor * width), channels))
